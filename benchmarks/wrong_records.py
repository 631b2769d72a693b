"""Invalid records of players: nearly valid dictionaries of RFC 8941, some far from it, in bodies of one and more.

All are drawn from one `random.Random`, so a seed reproduces them.
"""

from __future__ import annotations

from random import Random

KEYS = ("sid", "sn", "ts", "sta", "e", "v", "pr", "msd", "bg", "com.example-isp", "st", "bl", "ec", "*", "a_b-c.d*")
VALUES = (
    # Numbers; one of them is a digit outside ASCII.
    *["0", "-0", "1", "-1", "007", "+1", "1.5", "-0.125", "1.", ".5", "1.2345", "1e3", "0x1", "-", "١", "1.5.2"],
    *["999999999999999", "1000000000000000", "-999999999999999", "123456789012.123", "1234567890123.1"],
    # Strings, tokens, booleans, bytes, dates and display strings.
    *[r'""', r'"a"', r'"a\"b\\"', r'"a\nb"', r'"', r'"a', r'"a"b', r"'a'", r'"größe"', r'"a,sid=\"b\",v=3"'],
    *(f'"{char * number}"' for char in "xä" for number in (32, 33, 64, 65)),
    *('"a b"', '"\t"', '"\x00"', '"\x7f"', '"\ufeff"', '"\u2028\u202e"', "p\x00", "a b", " ", ""),
    *[
        "p",
        "r",
        "rr",
        "*",
        "t:/%!",
        "é",
        "a-b",
        "a=b",
        "-a",
        "%a",
        "?0",
        "?1",
        "?2",
        "?",
        "?10",
        ":aGk=:",
        "::",
        ":a:",
        ":",
        "@1",
        "@1.5",
        "@999999999999999",
    ],
    *['%"a%c3%a4"', '%"a%ff"', '%"'],
    # Lists and parameters.
    *[
        "()",
        "(1)",
        "((1))",
        "(1,2)",
        "(1",
        "1)",
        "(1);x",
        "(:aGk=:)",
        "1;x",
        "1;x=2",
        "1;x=(1)",
        "a;",
        ";a",
        "a;b=",
        '"a";v="b"',
    ],
    *("( )", "( 1 )", "(1  2)", "(1 2;v)", "(1;v 2;a)", '("a" b ?1)', "(1\t2)", "1; x", "(1 2"),
)
BROKEN = (
    *b', = a= a, ,a a,,b A=1 a;b a;b=1,c sid <html> {"session":"a"}'.split(),
    *(b"\xef\xbb\xbfa", b"\xff", b"a=\xc3", b"a b", b"a ;b", b"a , b", b"a\t,\tb", b"a =1", b"a= 1"),
    *(b"\x00", b"\x0b", b"a\x0cb"),
)


def body(rng: Random) -> bytes:
    """The lines of a body: mostly one, sometimes more than are accepted."""
    chance = rng.random()
    if chance < 0.001:
        return b"a\n" * rng.choice((500, 501, 2000))
    lines = [line(rng) for _ in range(1 if chance < 0.7 else rng.randrange(6))]
    end = rng.choice((b"\n", b"\n", b"\n", b"\r\n", b" \n", b"\n\n", b"\r"))
    return end.join(lines) + rng.choice((b"", end))


def line(rng: Random) -> bytes:
    """A record, or something else."""
    chance = rng.random()
    if chance < 0.03:
        return rng.choice(BROKEN)
    if chance < 0.05:
        return rng.randbytes(rng.randrange(40))
    return record(rng)


def record(rng: Random) -> bytes:
    """A valid record of one of many sessions, or of a few, then some of its members made invalid."""
    members = {
        "cid": '"clip-1"',
        "e": rng.choice(("ps", "t", "t", "rr")),
        "sid": f'"s{rng.randrange(rng.choice((3, 50, 20_000)))}"',
        "sn": str(rng.randrange(100)),
        "sta": rng.choice("dspkrawefq"),
        "ts": str(1_700_000_040_000 + rng.randrange(10**6)),
        "v": "2" if rng.random() < 0.8 else rng.choice(("1", "3", "2.5", "(2)", "(3)")),
    }
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2, 3))):
        key = rng.choice(KEYS)
        if rng.random() < 0.2:
            members.pop(key, None)
        else:
            members[key] = rng.choice(VALUES)
    if rng.random() < 0.01:
        members |= {f"k{number}": "1" for number in range(rng.choice((50, 70)))}
    if rng.random() < 0.003:
        members["x"] = f'"{"x" * rng.choice((3000, 9000))}"'
    keys = sorted(members)
    if rng.random() < 0.1:
        rng.shuffle(keys)
    written = [f"{key}={members[key]}" if members[key] or rng.random() < 0.2 else key for key in keys]
    if rng.random() < 0.05:
        written.append(rng.choice(written))
    return rng.choice((",", ",", ",", ", ", " ,\t")).join(written).encode()
