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
    ],
)
def test_what_is_wrong_is_named(words, said):
    with pytest.raises(ValueError, match=said.replace("(", "\\(")):
        sentinel_options.parse(words)


def test_the_defaults():
    options = sentinel_options.parse()
    assert (options.rate, options.reinject, options.selectors.ip) == (100.0, True, None)
