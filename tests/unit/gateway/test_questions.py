"""Limits on questions: rate, burst, in flight, new names under a wildcard."""

from __future__ import annotations

from stockade.gateway.questions import Bucket, QuestionLimits
from stockade.names import Hostname
from stockade.policy.decide import Decision, Reason, Verdict, deny

EXACT = Decision(Verdict.ALLOW, Reason.ALLOWED_HOSTNAME, "allowed_hostnames: a.test")
WILD = Decision(Verdict.ALLOW, Reason.ALLOWED_HOSTNAME, "allowed_hostnames: *.w.test")
TOO_MANY = deny(Reason.TOO_MANY_QUESTIONS)


def limits(
    questions: tuple[float, float] = (1e6, 1e6),
    new_names: tuple[float, float] = (1e6, 1e6),
    max_in_flight: int = 10,
) -> QuestionLimits:
    return QuestionLimits(
        questions=Bucket(*questions),
        new_names=Bucket(*new_names),
        max_in_flight=max_in_flight,
    )


def name(number: int) -> Hostname:
    return Hostname(f"n{number}.w.test")


def test_a_bucket_is_full_at_first_and_refills_at_its_rate() -> None:
    bucket = Bucket(rate=2.0, burst=3.0)
    assert [bucket.take(10.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.take(10.4) is False
    assert bucket.take(10.9) is True  # 0.8 + 1.0 tokens came in 0.9 s.
    assert bucket.take(10.9) is False


def test_a_bucket_never_holds_more_than_its_burst() -> None:
    bucket = Bucket(rate=100.0, burst=2.0)
    bucket.take(0.0)
    assert [bucket.take(1_000.0) for _ in range(3)] == [True, True, False]


def test_questions_beyond_the_rate_are_refused() -> None:
    limited = limits(questions=(1.0, 2.0))
    asked = [limited.refuse(name(1), EXACT, 5.0) for _ in range(3)]
    assert asked == [None, None, TOO_MANY]
    assert limited.refuse(name(1), EXACT, 6.1) is None


def test_questions_in_flight_are_bounded() -> None:
    limited = limits(max_in_flight=2)
    limited.in_flight = 2
    assert limited.refuse(name(1), EXACT, 0.0) == TOO_MANY
    limited.in_flight = 1
    assert limited.refuse(name(1), EXACT, 0.0) is None


def test_new_names_under_a_wildcard_are_bounded_and_known_ones_are_not() -> None:
    limited = limits(new_names=(0.001, 2.0))
    asked = [limited.refuse(name(number), WILD, 1.0) for number in (1, 2, 3, 1, 2, 1)]
    assert asked == [None, None, TOO_MANY, None, None, None]


def test_exact_names_are_not_new_names() -> None:
    limited = limits(new_names=(0.001, 1.0))
    assert [limited.refuse(name(n), EXACT, 1.0) for n in range(20)] == [None] * 20


def test_under_allow_all_there_is_no_wildcard() -> None:
    limited = limits(new_names=(0.001, 1.0))
    everything = Decision(Verdict.ALLOW, Reason.ALLOW_ALL, "allow_all")
    assert [limited.refuse(name(n), everything, 1.0) for n in range(9)] == [None] * 9


def test_the_memory_of_names_is_bounded() -> None:
    limited = limits()
    for number in range(20_000):
        limited.refuse(name(number), WILD, 1.0)
    assert len(limited._known) <= 16_384
