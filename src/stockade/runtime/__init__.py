"""Containers and images: what a devbox runs in.

The life of one devbox, as `box.Box` leads it::

    image layers ──┐                               (shared, never written)
                   ├─ id-mapped ─► overlay ─► rootfs ─► OCI runtime
    upper, work ───┘                               (the devbox's own disk)

1. `idrange` reserves 65536 user ids that no other devbox of the machine has, and
   `userns` makes a user namespace that maps root of the devbox to the first of them.
2. `trust` adds a layer with the certificate authorities of the machine. `overlay` mounts
   the layers below the devbox's own disk. Both are id-mapped, so files have the same
   owners on disk whatever the range is, and an image is shared, not copied.
3. `etc` writes the few files that differ between devboxes (resolv.conf, hosts, hostname),
   `users`, `program` and `binds` look for what the spec asks for: all through
   `tree.Tree`, which cannot leave the directory it was given.
4. `bundle` renders the OCI configuration with the filter of `seccomp`, `oci.OciDriver`
   hands it to crun or runc. After *create* the namespaces exist and nothing of the image
   has run: the caller attaches the network to the process, and only then says *start*.
5. The init process is our child (the caller is a child subreaper): its end is seen by
   pidfd, its exit status is read by `waitid`.
6. `removal` takes everything away again from what is written in the box directory, so
   that it works for a box whose owner was killed.

Images are made by `making`: `build` runs mmdebstrap as `recipe` says, `unpack` takes root
file systems from archives. `images.ImageStore` finds them.

What is trusted: the runtime, the kernel, our own files. What is not: the image, whose
every path, link and file type is taken for hostile, and all that runs in a devbox.

Known limits: devboxes share the kernel of the machine; there is no disk quota; 32-bit
programs do not run, since the system call filter knows the native architecture only; a
directory mounted writable lets the devbox make files of that directory's owner on the
host, set-user-id ones among them.
"""
