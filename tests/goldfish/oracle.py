"""The hashed mask in plain Python, one position at a time, to compare the package's own with."""

WORD = 1 << 64
BASE = 0x9E3779B97F4A7C15
SEED = 0xD1B54A32D192ED03
SHORT = 0xA0761D6478BD642F
PLACE = 0xE7037ED1A0B428DB


def mix(number: int) -> int:
    number %= WORD
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) % WORD
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) % WORD
    return number ^ (number >> 31)


def key(tokens: list[int], seed: int) -> int:
    total = 0
    for distance, token in enumerate(reversed(tokens)):
        total += mix(token + 1 + seed * SEED) * BASE**distance
    return total % WORD


def keep_row(
    ids: list[int],
    segments: list[int],
    k: int,
    h: int,
    seed: int = 0,
    window: str = "preceding",
    heads: str = "exempt",
    exempt: tuple[int, ...] = (),
) -> list[bool]:
    """Whether each token of one row is a target."""
    found = []
    for place, token in enumerate(ids):
        begin = place
        while begin > 0 and (heads == "cross" or segments[begin - 1] == segments[place]):
            begin -= 1
        end = place
        while end < len(ids) and segments[end] == segments[place]:
            end += 1
        right = place + 1 if window == "inclusive" else place
        left = max(right - h, begin)
        seen = ids[left:right]
        if len(seen) == h:
            drop = chosen(mix(key(seen, seed)), k)
        elif heads == "short":
            number = key(seen, seed) + mix((len(seen) + 1) * SHORT)
            drop = chosen(mix(number), k) and place - begin > 1
        elif heads == "lead":
            own = ids[begin : min(begin + h, end)]
            lead = mix(key(own, seed) + mix(len(own) * SHORT))
            drop = chosen(mix(lead + (place - begin + 1) * PLACE), k)
        else:
            drop = False
        found.append(place == begin or not drop or token in exempt)
    return found


def chosen(number: int, k: int) -> bool:
    return (number % WORD) >> 1 < (1 << 63) // k
