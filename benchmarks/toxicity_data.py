"""What the toxicity model learns from and is measured on: labelled sets read in place, identity terms, written templates.

The sets lie in ../shared/data (or `CURATE_DATA`), each with its licence; nothing of them is copied. A set's `part` of a text is
drawn by the text itself (sha256), so equal texts never stand on both sides, and retweets of one text neither.
"""

from __future__ import annotations

import csv
import hashlib
import html
import json
import os
import re
import tarfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

__all__ = ["DATA", "IDENTITIES", "TERMS", "Text", "books", "holds_profanity", "madlibs", "prose", "sets", "templates"]

DATA = Path(os.environ.get("CURATE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
_NOISE = re.compile(r"(\bRT\b:?\s*)?@\w+:?|https?://\S+|\bRT\b|&#?\w+;")
_WORD = re.compile(r"\w+")


def _words(listed: str) -> list[str]:
    return listed.split()


IDENTITIES = _words("""
lesbian lesbians gay gays bisexual bisexuals transgender transgenders trans transsexual queer queers lgbt lgbtq lgbtqia
homosexual homosexuals homosexuality straight heterosexual heterosexuals cis cisgender nonbinary non-binary intersex
asexual pansexual male males female females man men woman women boy boys girl girls transwoman transman trans-woman
trans-man african africans african-american african-americans black blacks white whites caucasian caucasians european
europeans hispanic hispanics latino latinos latina latinas latinx mexican mexicans american americans canadian canadians
asian asians indian indians native-american middle-eastern arab arabs arabic turk turks turkish persian iranian iraqi
pakistani chinese japanese korean koreans vietnamese filipino russian russians german germans french irish italian
italians polish british english jew jews jewish judaism muslim muslims islam islamic moslem moslems christian christians
christianity catholic catholics protestant protestants mormon mormons buddhist buddhists hindu hindus sikh sikhs taoist
taoists atheist atheists roma romani gypsy gypsies israeli israelis palestinian palestinians somali nigerian ukrainian
immigrant immigrants migrant migrants refugee refugees foreigner foreigners old older elderly senior seniors young
younger teenage teenager teenagers millennial millennials millenial millenials middle-aged blind deaf paralyzed disabled
handicapped autistic wheelchair aboriginal aborigines indigenous polynesian maori poor rich homeless liberal liberals
conservative conservatives democrat democrats republican republicans
""")
"""Words that name who somebody is, and that are no slur; `-` stands for a space."""
TERMS = _words("""
lesbian gay bisexual transgender trans queer lgbt lgbtq homosexual straight heterosexual male female nonbinary african
african-american black white european hispanic latino latina latinx mexican canadian american asian indian middle-eastern
chinese japanese christian muslim jewish buddhist catholic protestant sikh taoist old older young younger teenage millenial
middle-aged elderly blind deaf paralyzed
""")
"""The fifty terms of the Jigsaw templates (Dixon et al. 2018)."""
_IDENTITY = re.compile("|".join(rf"\b{one.replace('-', ' ')}\b" for one in sorted(TERMS, key=len, reverse=True)))


class Text(NamedTuple):
    """A labelled text.

    Attributes:
        text: The text.
        toxic: What people said of it.
        part: `train`, `calibrate` or `test`.
        source: The set.
    """

    text: str
    toxic: bool
    part: str
    source: str


def _clean(tweet: str) -> str:
    return " ".join(_NOISE.sub(" ", html.unescape(tweet)).split())


def _drawn(text: str) -> str:
    key = " ".join(_WORD.findall(text.lower()))
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % 100
    return "train" if number < 70 else "calibrate" if number < 80 else "test"


def sets() -> Iterator[Text]:
    """All labelled texts. Of Jigsaw's comments all are `test`: too few to learn from, and what the model is held to."""
    with (DATA / "davidson_hate" / "labeled_data.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            text = _clean(row["tweet"])
            yield Text(text, row["class"] != "2", _drawn(text), "davidson")
    folder = DATA / "tweeteval" / "offensive"
    for name, part in (("train", "train"), ("val", "calibrate"), ("test", "test")):
        texts = (folder / f"{name}_text.txt").read_text("utf-8").split("\n")
        labels = (folder / f"{name}_labels.txt").read_text("utf-8").split()
        for text, label in zip(texts, labels, strict=False):
            yield Text(_clean(text), label == "1", part, "tweeteval")
    for line in (DATA / "vicomtech_hate" / "sampled.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        yield Text(row["text"], row["label"] == "hate", row["split"], "vicomtech")
    for name in ("train", "test"):
        with (DATA / "jigsaw_sample" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                labels = [row[one] for one in ("toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate")]
                if "-1" not in labels:
                    yield Text(row["comment_text"], "1" in labels, "test", f"jigsaw_{name}")


def madlibs() -> Iterator[tuple[str, bool, str, str]]:
    """Text, toxic, template and identity term (empty without one) of the Jigsaw templates of 2018."""
    path = DATA / "toxicity_madlibs" / "unintended_ml_bias" / "eval_datasets" / "bias_madlibs_77k.csv"
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found = _IDENTITY.search(row["Text"].lower())
            yield row["Text"], row["Label"] == "BAD", row["Template"], found[0] if found else ""


def prose(part: str) -> Iterator[str]:
    """Paragraphs of Wikipedia that nobody would call toxic: `train` (WikiText-2's `valid`) or `test`."""
    path = DATA / "wikitext2" / ("valid.txt" if part == "train" else "test.txt")
    for line in path.read_text("utf-8").split("\n"):
        if len(line) > 200:
            yield line.replace(" @-@ ", "-").replace("<unk>", "")


def books(part: str) -> Iterator[str]:
    """Pieces of 1,500 characters of old books, taken as not toxic: of every second book `train`, of the others `test`."""
    with tarfile.open(DATA / "books_sample" / "books.tar.xz") as archive:
        for number, member in enumerate(one for one in archive if one.isfile()):
            file = archive.extractfile(member)
            if file and (number % 2 == 0) == (part == "train"):
                text = file.read().decode("utf-8")
                yield from (text[start : start + 1500] for start in range(1500, len(text) - 1500, 30_000))


def lexicon_terms() -> set[str]:
    """Single words of the English list of ldnoobw."""
    lines = (DATA / "ldnoobw" / "en").read_text("utf-8").split("\n")
    return {line.strip().lower() for line in lines if line.strip() and " " not in line.strip()}


def holds_profanity(text: str, listed: set[str]) -> bool:
    """Whether a word of the text, or its plural, stands in the list."""
    return any(word in listed or word.rstrip("s") in listed for word in _WORD.findall(text.lower()))


# ---- templates of our own: the identity term vanishes, so one sentence without it stands for all of them. No adjective, verb
# or noun of the Jigsaw templates is among the words, nor are their sentences: those are only measured on.

_INSULTS = _words("""
worthless pathetic ignorant evil hateful despicable
brainless wretched foul gross lousy useless retarded miserable incompetent clueless delusional
dishonest corrupt cowardly crazy insane lazy fat smelly sick twisted arrogant annoying shameful inferior subhuman dirty cruel
childish contemptible creepy deranged detestable disgraceful gutless hideous hopeless inept insufferable laughable mindless
obnoxious odious petty pitiful ridiculous rude senseless shallow shameless silly sleazy spineless spiteful trashy uneducated
vicious weak wicked witless braindead backward primitive hypocritical loathsome
""")
_PRAISE = _words("""
clever gentle brave honest amazing beautiful smart helpful funny
generous patient cheerful thoughtful talented wise calm modest proud fair decent charming sweet warm careful
tolerant polite busy quiet tall curious famous married retired new local awesome respectful
strong able active bright loyal fine lively noble polished reliable sincere skilled elegant sociable pleasant delightful
adorable admirable brilliant capable dear devoted diligent educated faithful fabulous gifted glorious grateful hopeful humble
inspiring joyful magnificent marvelous outstanding positive precious remarkable special splendid successful superb supportive
terrific thankful trustworthy useful valuable worthy responsible normal ordinary typical regular average common interesting
important popular serious strange different free healthy wealthy
""")
_BAD_NOUNS = _words("""
idiot moron imbecile loser scum pig coward liar fool dumbass jackass asshole bastard bitch jerk freak creep clown rat vermin
parasite disgrace failure hypocrite troll vandal cretin prick dickhead scumbag degenerate savage trash garbage wanker tosser
cunt retard whore slut nazi racist psycho pervert dick twat
""")
_GOOD_NOUNS = _words("""
teacher friend neighbour student editor singer cook driver parent
colleague musician carpenter volunteer poet judge baker painter soldier citizen athlete librarian
""")
_HARM = _words("despise hurt attack burn beat shoot hang strangle punch slaughter exterminate eliminate lynch")
_CARE = _words("welcome help support thank protect admire greet trust teach invite meet understand visit")


_ABUSE = """
shut up; shut your mouth; go to hell; rot in hell; get lost; get a life; piss off; screw you; go away and never come
back; nobody likes you; you make me sick; what is wrong with you; you should be ashamed; drop dead; go die; I hope you
die; you deserve to die; watch your back; I know where you live; I will find you; you will regret this; eat shit; suck
it; kiss my ass; bite me; full of crap; this is bullshit; you are full of shit; fuck you; fuck off; go fuck yourself;
what the hell is your problem; stop whining; cry about it
"""
_COURTESY = """
thank you; please stop by; go to the talk page; come back soon; get well soon; good luck; see you there; take care;
everybody likes you; you make me smile; what is new with you; you should be glad; I hope you agree; you deserve a rest;
have a look; I know what you mean; I will find a source; you will like this; read the rules; see my page; write to me;
this is right; you are right; welcome back; go ahead; what is the source of this; stop here; think about it; sorry about
that; please explain your edit; the article needs work
"""


def templates() -> Iterator[tuple[str, bool]]:
    """Sentences about somebody, as toxic as their words."""
    for words, nouns, verbs, toxic in (
        (_INSULTS, _BAD_NOUNS, _HARM, True), (_PRAISE, _GOOD_NOUNS, _CARE, False),
    ):  # fmt: skip
        frames = (
            "you are {}", "he is a {} person", "she is so {}", "they are all {} people", "what a {} family",
            "I think that you are really {}", "my neighbours are {}", "you {} people",
        )  # fmt: skip
        yield from ((frame.format(word), toxic) for frame, word in product(frames, words))
        of_nouns = ("you are a {}", "he is a {}", "shut up you {}", "she is just another {}", "that {} again",
                    "go away {}") if toxic else ("you are a {}", "he is a {}", "she is just another {}", "that {} again",
                    "my friend is a {}", "I met a {}")  # fmt: skip
        yield from ((frame.format(noun), toxic) for frame, noun in product(of_nouns, nouns))
        yield from ((f"you are a {word} {noun}", toxic) for word, noun in product(words[::3], nouns[::4]))
        of_verbs = (
            "{} them",
            "{} all of them",
            "I {} those people",
            "we should {} them",
            "I will {} you",
            "someone should {} him",
        )
        yield from ((frame.format(verb), toxic) for frame, verb in product(of_verbs, verbs))
    for phrases, toxic in ((_ABUSE, True), (_COURTESY, False)):
        said = [" ".join(one.split()) for one in phrases.split(";")]
        yield from (
            (frame.format(one), toxic) for frame, one in product(("{}", "{} please", "just {}", "and {} too"), said)
        )
    for sentence in ("I am one of them", "I am and I am proud of it", "as one of them I know", "my mother is one",
                     "many of them live here", "the history of the community", "they are people like you and me",
                     "who is", "a family", "a person", "I am a person", "people", "community", "we are"):  # fmt: skip
        yield sentence, False
