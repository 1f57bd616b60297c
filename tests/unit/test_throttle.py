from agent.throttle import FIRST_SILENCE_SECONDS, LONGEST_SILENCE_SECONDS, Throttle


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_silence_has_a_longest() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    allowed = []
    for now in range(0, 20_000, 10):
        clock.now = now
        if throttle.allows("it"):
            allowed.append(now)
    steps = [late - early for early, late in zip(allowed, allowed[1:], strict=False)]
    assert steps[0] == FIRST_SILENCE_SECONDS
    assert steps[:6] == [60, 120, 240, 480, 960, 1920]
    assert set(steps[6:]) == {LONGEST_SILENCE_SECONDS}


def test_each_thing_has_a_silence_of_its_own() -> None:
    throttle = Throttle(Clock())
    assert throttle.allows("one") and throttle.allows("other")
    assert not throttle.allows("one")
