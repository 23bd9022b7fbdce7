"""Ask in one language, find in others: ``python examples/crosslingual.py``.

nano has learnt some French and Spanish beside English; in many languages at home is
``--model LiquidAI/LFM2-ColBERT-350M``.
"""

from __future__ import annotations

import argparse

from lfm2_retrieval import Retriever

NOTES = [
    ("en", "Caffeine blocks the receptors that make us tired."),
    ("en", "Bats hunt insects at night by the echo of their own voice."),
    ("en", "The president is elected for five years."),
    ("en", "The museum is closed on Mondays and entrance is free for children."),
    ("fr", "La musique de ce film a été composée par son frère."),
    ("fr", "Les abeilles produisent le miel à partir du nectar des fleurs."),
    ("fr", "Le musée est fermé le lundi, et l'entrée est gratuite pour les enfants."),
    ("es", "El volcán expulsa lava y ceniza durante la erupción."),
    ("es", "La función devuelve una lista ordenada de números."),
    ("es", "La vacuna enseña al cuerpo a reconocer un virus."),
]
QUESTIONS = [
    ("fr", "Pourquoi la caféine empêche-t-elle la fatigue ?"),
    ("fr", "Quand le musée est-il ouvert ?"),
    ("es", "¿Cómo cazan insectos los murciélagos?"),
    ("en", "who composed the music of the film?"),
    ("en", "which function returns a sorted list?"),
    ("en", "what does a vaccine do?"),
]

parser = argparse.ArgumentParser(description="Search in other languages than the question's.")
parser.add_argument("--model", default="nano")
given = parser.parse_args()

notes = [{"text": text, "lang": lang} for lang, text in NOTES]
with Retriever.index(notes, model=given.model, fields=["lang"]) as retriever:
    for lang, question in QUESTIONS:
        [hit] = retriever.search(question, k=1, where={"lang": {"$ne": lang}})
        print(f"{lang}  {question}\n{hit.metadata['lang']}    {hit.text}\n")
