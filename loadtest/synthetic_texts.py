"""Generated product comments of realistic lengths: the texts of a load test when no file is given.

The sentences are combined from the short word lists below, which were written for this purpose; they contain
no sentence of a data set. Only the length must be realistic, because the length determines the cost of a
request.

Lengths are lognormal, cut at 3 and 250 words: median 27 words and a tenth above 108, which are 35 and 128
tokens of the all-MiniLM-L6-v2 word-piece tokenizer. This length is between those of the texts that the
built-in model was made for (tokens at the 50th/90th percentile, in the README of the training data): tweets
27/37, single review sentences 25/40, drugstore product reviews 41/193, clothing reviews 75/124.
`MEDIAN_WORDS` and `SPREAD` are solved from the two points.
"""

import math
import random

MEDIAN_WORDS = 27
SPREAD = 1.08  # standard deviation of ln(words): ln(108 / 27) / 1.2816, the normal's 90th percentile
SHORTEST_WORDS = 3
LONGEST_WORDS = 250


def _listed(words: str) -> tuple[str, ...]:
    return tuple(words.split("|"))


_THING = _listed(
    "hand cream|face wash|lip balm|shampoo|night serum|sun lotion|hair brush|razor|soap|perfume|"
    "winter coat|summer dress|pair of jeans|wool sweater|rain jacket|desk lamp|kettle|phone case|film|"
    "concert|train ride|hotel room|pasta dish|coffee|update|new app|keyboard|backpack|running shoe|"
    "ticket line"
)
_PART = _listed(
    "smell|colour|fabric|lid|pump|price|packaging|fit|size|zipper|texture|label|delivery|sound|battery|"
    "ending|service|taste|refund|instructions|finish|handle|first impression|customer desk|seam|screen"
)
_GOOD = _listed(
    "lovely|soft|gentle|better than I hoped|worth it|bright|sturdy|generous|a pleasure|spot on|warm|"
    "fresh|quick|brilliant|easy to use|just right|so good"
)
_BAD = _listed(
    "awful|greasy|too tight|broken|a letdown|sticky|cheap looking|late again|dull|harsh|leaking|"
    "scratchy|overpriced|noisy|worse than before|a waste|far too small"
)
_PLAIN = _listed("fine|ordinary|about average|as described|neither here nor there|what you would expect|okay")
_HOW = _listed("really|rather|quite|honestly|a bit|very|almost|somehow|surprisingly|simply")
_WHEN = _listed(
    "last week|two days ago|for my sister|on a whim|in spring|after a long search|for the office|"
    "before our trip|this morning|because a friend insisted|during the sale|for the third time"
)
_AFTER = _listed(
    "after one wash|after a month|by the second day|once it dried|in cold weather|under bright light|"
    "when I got home|with sensitive skin|on the way back|at this price"
)
_WHO = _listed(
    "my mother|my neighbour|everyone at work|the lady in the shop|my husband|our daughter|nobody here|@user"
)
_ADVICE = _listed(
    "would buy it again|will send it back|cannot recommend it|already ordered another|gave it away|"
    "will stick with the old one|might try a different size|keep reaching for it"
)
_OPENING = _listed("|||ok so|well|honestly|update:|to be fair|not gonna lie|heads up")
_SENTENCES = (
    "I bought this {thing} {when} and the {part} is {how} {quality}",
    "the {part} was {quality} {after}, which {who} noticed too",
    "{who} said the {part} looked {quality}, and I {advice}",
    "it came {when}; the {part} felt {how} {quality}",
    "{after} the {part} is still {quality}",
    "I wanted to like this {thing}, but the {part} was {quality} and the {other} was {second}",
    "so {quality}",
    "compared with the {thing} I had before, the {part} is {quality} and the {other} {how} {second}",
    "no complaints about the {part}, though the {other} is {quality}",
    "{who} and I {advice}",
    "is it me or is the {part} {how} {quality}",
)
_ENDINGS = (".", ".", ".", ".", "!", "!!", "...")


def invent(count: int, seed: int) -> tuple[str, ...]:
    """Return `count` generated texts; the same seed gives the same texts.

    Args:
        count: Number of texts, 0 or more.
        seed: Seed of the lengths and the words.
    """
    draw = random.Random(seed)
    return tuple(_text(draw, _length_words(draw)) for _ in range(count))


def _length_words(draw: random.Random) -> int:
    words = round(draw.lognormvariate(math.log(MEDIAN_WORDS), SPREAD))
    return min(max(words, SHORTEST_WORDS), LONGEST_WORDS)


def _text(draw: random.Random, length_words: int) -> str:
    words: list[str] = draw.choice(_OPENING).split()
    while len(words) < length_words:
        words += _sentence(draw).split()
    return " ".join(words[:length_words]).rstrip(",;.!") + draw.choice(_ENDINGS)


def _sentence(draw: random.Random) -> str:
    tone = draw.choice((_GOOD, _GOOD, _BAD, _BAD, _PLAIN))
    return draw.choice(_SENTENCES).format(
        thing=draw.choice(_THING),
        part=draw.choice(_PART),
        other=draw.choice(_PART),
        quality=draw.choice(tone),
        second=draw.choice(_GOOD + _BAD + _PLAIN),
        how=draw.choice(_HOW),
        when=draw.choice(_WHEN),
        after=draw.choice(_AFTER),
        who=draw.choice(_WHO),
        advice=draw.choice(_ADVICE),
    ) + draw.choice(_ENDINGS)
