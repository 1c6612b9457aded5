"""The system calls a devbox may make: an allow list.

Three kinds of calls:

- listed in `_ALLOWED`: ordinary work of programs, compilers, shells, debuggers;
- listed in `_REFUSED`: known, and refused with EPERM, which programs understand as "not
  permitted here": whatever makes namespaces or mounts, loads code into the kernel, reads
  keys, or goes around a filter on sockets (io_uring);
- all others, also those that kernels will have one day: ENOSYS, so that C libraries fall
  back to what they did before. `clone3` is among them: its flags are in memory, where a
  filter cannot look.

`clone` is allowed without flags that make namespaces. `socket` knows four families: a
vsock reaches the hypervisor whatever network namespace it is made in, packet and crypto
sockets are attack surface that no devbox needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stockade.errors import Unavailable

_EPERM, _ENOSYS, _EPROTONOSUPPORT, _EAFNOSUPPORT = 1, 38, 93, 97
_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16
_NETLINK_AUDIT = 9
# CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_NAMESPACE_FLAGS = (1 << 17, *(1 << bit for bit in range(25, 31)))
_NEWUSER = 1 << 28
# Linux, UNAME26, 32 bits, both, and the question which one it is.
_PERSONALITIES = (0x0, 0x2_0000, 0x8, 0x2_0008, 0xFFFF_FFFF)

_ALLOWED = """
accept accept4 adjtimex bind brk capget capset chdir chroot clock_getres clock_gettime
clock_nanosleep close close_range connect copy_file_range dup dup3 epoll_create1 epoll_ctl
epoll_pwait epoll_pwait2 eventfd2 execve execveat exit exit_group faccessat faccessat2
fadvise64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync
fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstatfs fsync ftruncate futex
futex_requeue futex_wait futex_waitv futex_wake getcpu getcwd getdents64 getegid geteuid
getgid getgroups getitimer getpeername getpgid getpid getppid getpriority getrandom
getresgid getresuid getrlimit get_robust_list getrusage getsid getsockname getsockopt
gettid gettimeofday getuid getxattr getxattrat inotify_add_watch inotify_init1
inotify_rm_watch io_cancel ioctl io_destroy io_getevents io_pgetevents ioprio_get
ioprio_set io_setup io_submit kcmp kill landlock_add_rule landlock_create_ruleset
landlock_restrict_self lgetxattr linkat listen listxattr listxattrat llistxattr
lremovexattr lseek lsetxattr madvise membarrier memfd_create memfd_secret mincore mkdirat
mknodat mlock mlock2 mlockall mmap mprotect mq_getsetattr mq_notify mq_open
mq_timedreceive mq_timedsend mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync
munlock munlockall munmap name_to_handle_at nanosleep newfstatat openat openat2 pidfd_getfd
pidfd_open pidfd_send_signal pipe2 pkey_alloc pkey_free pkey_mprotect ppoll prctl pread64
preadv preadv2 prlimit64 process_madvise process_mrelease process_vm_readv
process_vm_writev pselect6 ptrace pwrite64 pwritev pwritev2 read readahead readlinkat readv
recvfrom recvmmsg recvmsg remap_file_pages removexattr removexattrat renameat renameat2
restart_syscall rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn
rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sched_getaffinity sched_getattr
sched_getparam sched_get_priority_max sched_get_priority_min sched_getscheduler
sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam sched_setscheduler
sched_yield seccomp semctl semget semop semtimedop sendfile sendmmsg sendmsg sendto
setfsgid setfsuid setgid setgroups setitimer setpgid setpriority setregid setresgid
setresuid setreuid setrlimit set_robust_list setsid setsockopt set_tid_address setuid
setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd4 splice statfs
statx symlinkat sync sync_file_range syncfs sysinfo tee tgkill timer_create timer_delete
timerfd_create timerfd_gettime timerfd_settime timer_getoverrun timer_gettime timer_settime
times tkill truncate umask uname unlinkat utimensat vmsplice wait4 waitid write writev
"""

_ALLOWED_X86_64 = """
access alarm arch_prctl chmod chown creat dup2 epoll_create epoll_ctl_old epoll_wait
epoll_wait_old eventfd fork futimesat getdents getpgrp get_thread_area inotify_init lchown
link lstat map_shadow_stack mkdir mknod modify_ldt open pause pipe poll readlink rename
rmdir select set_thread_area signalfd stat symlink time unlink utime utimes vfork
"""

_REFUSED = """
acct add_key bpf clock_adjtime clock_settime delete_module fanotify_init fanotify_mark
finit_module fsconfig fsmount fsopen fspick get_mempolicy init_module io_uring_enter
io_uring_register io_uring_setup kexec_file_load kexec_load keyctl lookup_dcookie
lsm_set_self_attr mbind migrate_pages mount mount_setattr move_mount move_pages nfsservctl
open_by_handle_at open_tree open_tree_attr perf_event_open pivot_root quotactl quotactl_fd
reboot request_key setdomainname sethostname set_mempolicy set_mempolicy_home_node setns
settimeofday swapoff swapon syslog umount2 unshare userfaultfd vhangup
"""

_REFUSED_X86_64 = """
create_module get_kernel_syms ioperm iopl query_module _sysctl sysfs uselib ustat
"""

# What a builder of images does besides, with a capability that its steps do not have.
_NESTED = "mount umount2 pivot_root sethostname"
# Calls that are judged by their flags, not by their names alone.
_FLAGGED = {False: frozenset[str](), True: frozenset({"unshare"})}

_ARCHITECTURES = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}

Rule = Mapping[str, Any]


def profile(machine: str, *, nesting: bool = False) -> dict[str, Any]:
    """Render the profile for *machine*, as `uname -m` names it, in OCI form.

    With *nesting*, mounts and namespaces may be made, but for user namespaces: whoever has
    no capability for it inside gets none by making one.

    One architecture only: calls by another convention (32-bit, x32) end the process, and
    the runtime compiles the filter in half the time.
    """
    try:
        architecture = _ARCHITECTURES[machine]
    except KeyError:
        known = ", ".join(sorted(_ARCHITECTURES))
        raise Unavailable(
            f"there is no system call filter for {machine}, only for {known}"
        ) from None
    intel = machine == "x86_64"
    allowed = _ALLOWED + (_ALLOWED_X86_64 if intel else "")
    refused = _REFUSED + (_REFUSED_X86_64 if intel else "")
    nested = frozenset(_NESTED.split() if nesting else ())
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": _ENOSYS,
        "architectures": [architecture],
        "syscalls": [
            _allow(sorted({*allowed.split(), *nested})),
            _refuse(sorted({*refused.split()} - nested - _FLAGGED[nesting]), _EPERM),
            *(_nesting_rules() if nesting else _clone_rules()),
            *_socket_rules(),
            *(
                _allow(["personality"], [_argument(0, "EQ", value)])
                for value in _PERSONALITIES
            ),
        ],
    }


def _clone_rules() -> Iterator[Rule]:
    every_flag = sum(_NAMESPACE_FLAGS)
    yield _allow(["clone"], [_argument(0, "MASKED_EQ", every_flag, 0)])
    for flag in _NAMESPACE_FLAGS:
        yield _refuse(["clone"], _EPERM, [_argument(0, "MASKED_EQ", flag, flag)])


def _nesting_rules() -> Iterator[Rule]:
    for call in ("clone", "unshare"):
        yield _allow([call], [_argument(0, "MASKED_EQ", _NEWUSER, 0)])
        yield _refuse([call], _EPERM, [_argument(0, "MASKED_EQ", _NEWUSER, _NEWUSER)])


def _socket_rules() -> Iterator[Rule]:
    """Allow four families by name; refuse the numbers between and above.

    The comparison is of 64 bits, the kernel's of 32. A number with high bits set is above
    all families here, hence refused, whatever the kernel would make of it.
    """
    names = ["socket", "socketpair"]
    for family in (_AF_UNIX, _AF_INET, _AF_INET6):
        yield _allow(names, [_argument(0, "EQ", family)])
    # Programs that report to the audit daemon do without it when there is none.
    audit = _argument(2, "EQ", _NETLINK_AUDIT)
    other = _argument(2, "NE", _NETLINK_AUDIT)
    netlink = _argument(0, "EQ", _AF_NETLINK)
    yield _allow(names, [netlink, other])
    yield _refuse(names, _EPROTONOSUPPORT, [netlink, audit])
    between = [0, *range(_AF_INET + 1, _AF_INET6), *range(_AF_INET6 + 1, _AF_NETLINK)]
    for family in between:
        yield _refuse(names, _EAFNOSUPPORT, [_argument(0, "EQ", family)])
    yield _refuse(names, _EAFNOSUPPORT, [_argument(0, "GT", _AF_NETLINK)])


def _allow(names: Sequence[str], arguments: Sequence[Rule] = ()) -> Rule:
    rule = {"names": list(names), "action": "SCMP_ACT_ALLOW"}
    return {**rule, "args": list(arguments)} if arguments else rule


def _refuse(names: Sequence[str], error: int, arguments: Sequence[Rule] = ()) -> Rule:
    rule = {"names": list(names), "action": "SCMP_ACT_ERRNO", "errnoRet": error}
    return {**rule, "args": list(arguments)} if arguments else rule


def _argument(index: int, comparison: str, value: int, second: int = 0) -> Rule:
    operator = f"SCMP_CMP_{comparison}"
    argument = {"index": index, "value": value, "op": operator}
    return {**argument, "valueTwo": second} if comparison == "MASKED_EQ" else argument
