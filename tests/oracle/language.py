"""A small synthetic language: stories of facts and distractors, then questions about the facts.

Every answer is one word that the story stated far back (a place, a name, a colour, a number), so a
model can only be right by attending to that one token across everything in between.
"""

import random
from dataclasses import dataclass

NAMES = """Anna Tom Mary Paul Lucy Oscar Emma Felix Nora Hugo Clara Simon Ella David Julia Peter
Sarah Victor Alice Martin""".split()
OBJECTS = """ball key lamp book cup clock hat drum kite coat bell knife rope map ring chair box pen
shoe vase""".split()
PLACES = """kitchen garden office attic cellar library hall barn tower bathroom garage forest market
school church harbour""".split()
COLOURS = "red blue green yellow black white brown grey orange purple".split()
DIGITS = "2 3 4 5 6 7 8 9".split()

OPENINGS = ["It was a cold day.", "It was a warm morning.", "It was late in the evening.",
            "Once upon a time there was a village by the sea.", "This is a short story.",
            "Listen to this story."]
SUBJECTS = ["The wind", "The rain", "The sun", "A dog", "A cat", "The old clockmaker", "A bird",
            "The train", "Nobody", "The river"]
VERBS = ["was quiet", "made a noise", "came and went", "was far away", "could not wait",
         "did not stop", "was very slow", "changed its mind"]
TIMES = ["that day", "for a while", "all night long", "again", "as always", "in the end",
         "for no reason", "after lunch"]

# kind: (question, answer); the story states the answer. {k} is what the question names, {v} what it asks for
FACTS = {
    "person": ("Where did {k} go?", "{k} went to the {v}."),
    "object": ("Where did {who} put the {k}?", "{who} put the {k} in the {v}."),
    "colour": ("What colour is the {k}?", "The {k} is {v}."),
    "likes": ("Whom does {k} like?", "{k} likes {v}."),
    "coins": ("How many coins does {k} have?", "{k} has {v} coins."),
}
KEYS = {"person": NAMES, "object": OBJECTS, "colour": OBJECTS, "likes": NAMES, "coins": NAMES}
VALUES = {"person": PLACES, "object": PLACES, "colour": COLOURS, "likes": NAMES, "coins": DIGITS}


@dataclass
class Question:
    kind: str
    key: str
    text: str       # "\nQuestion: ...?\nAnswer:"
    answer: str     # " ... ."
    sentence: int   # index of the sentence that decides


@dataclass
class Story:
    sentences: list
    questions: list     # every question that the story answers, in the order of the facts


def make_story(rng: random.Random, facts: int, distractors: int, moves: int, kinds: int = 5) -> Story:
    """A story of `facts` first statements of some `kinds`, `moves` later ones that replace a place, and
    distractors. The later statement counts."""
    kinds = rng.sample(list(FACTS), kinds)
    stated = {}
    plan = []
    while len(plan) < facts:
        kind = rng.choice(kinds)
        key = rng.choice(KEYS[kind])
        value = rng.choice(VALUES[kind])
        if (kind, key) not in stated and value != key:
            stated[kind, key] = value
            plan.append((kind, key, value))
    order = plan + [None] * distractors
    rng.shuffle(order)
    movable = [f for f in plan if f[0] in ("person", "object")]
    for kind, key, value in rng.sample(movable, min(moves, len(movable))):
        first = order.index((kind, key, value))
        other = rng.choice([v for v in VALUES[kind] if v != value])
        order.insert(rng.randint(first + 1, len(order)), (kind, key, other))

    sentences = [rng.choice(OPENINGS)]
    decides = {}
    for item in order:
        if item is None:
            text = f"{rng.choice(SUBJECTS)} {rng.choice(VERBS)} {rng.choice(TIMES)}."
        else:
            kind, key, value = item
            who = rng.choice(NAMES)
            question, text = (x.format(k=key, v=value, who=who) for x in FACTS[kind])
            again = (kind, key) in decides
            decides[kind, key] = Question(kind, key, f"\nQuestion: {question}\nAnswer:", " " + text,
                                          len(sentences))
            text = "Then " * again + text
        sentences.append(text)
    questions = list(decides.values())
    return Story(sentences, questions)


def document(story: Story, questions: list):
    """The text of a training document without its end marker, and the character spans of the answers."""
    text = " ".join(story.sentences)
    spans = []
    for q in questions:
        text += q.text
        spans.append((len(text), len(text) + len(q.answer)))
        text += q.answer
    return text + "\n", spans
