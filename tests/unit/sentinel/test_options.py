"""The sentinel's options: defaults, and what is refused."""

import pytest
from arp_engine.sentinel import options as sentinel_options


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"rate": 0}, "rate: 0: the sentinel needs a limit"),
        ({"reinject": "no"}, "reinject: 'no' is neither true nor false"),
        ({"devices": "eth0"}, "sentinel: no option 'devices'; there are dev, ip"),
        ({"ip": "10.0.0.0/33"}, "ip: "),
        ({"burst": 0}, "burst: 0 is not a whole number of frames, 1 or more"),
        ({"burst": True}, "burst: True is not a whole number"),
        ([1], "options: .1. is no mapping, such as"),
    ],
)
def test_what_is_wrong_is_named(words, said):
    with pytest.raises(ValueError, match=said.replace("(", "\\(")):
        sentinel_options.parse(words)


def test_the_defaults():
    options = sentinel_options.parse()
    assert (options.rate, options.burst, options.reinject) == (1000.0, 4000, True)
    assert options.selectors.ip is None


def test_a_rate_has_four_seconds_worth_of_burst():
    assert sentinel_options.parse({"rate": 50}).burst == 200
    assert sentinel_options.parse({"rate": 50, "burst": 10}).burst == 10
