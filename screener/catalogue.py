"""Words for people: written in English where they are used, in other languages from gettext catalogues in ``locale``.

Each group of texts has a context, which keeps apart what English says in one word and French in two. A catalogue is
read when its language is first asked for. `make messages` renews the catalogues from what is declared.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Language = Literal["en", "fr"]
LANGUAGES: tuple[Language, ...] = ("en", "fr")
SOURCE: Language = "en"
"""Language that the code is written in."""

DECLARED: list[tuple[str, str]] = []
"""Context and English text of everything that was declared, for `make messages`."""

K = TypeVar("K")
V = TypeVar("V")


@cache
def translator(lang: Language) -> Callable[[str, str], str]:
    """Return the function from context and English text to the text in a language."""
    if lang == SOURCE:
        return lambda _, text: text
    import gettext
    from importlib.resources import files

    return gettext.translation("screener", str(files("screener") / "locale"), [lang]).pgettext


class _Spoken(Mapping[Language, V]):
    """Something in every language; a translation is made once."""

    def __init__(self, context: str, english: V, texts: list[str]) -> None:
        self._context, self._english = context, english
        self._made: dict[Language, V] = {SOURCE: english}
        DECLARED.extend((context, text) for text in texts)

    def __getitem__(self, lang: Language) -> V:
        if lang not in self._made:
            if lang not in LANGUAGES:
                raise KeyError(lang)
            translate = translator(lang)
            self._made[lang] = self._translated(lambda text: translate(self._context, text))
        return self._made[lang]

    def __iter__(self) -> Iterator[Language]:
        return iter(LANGUAGES)

    def __len__(self) -> int:
        return len(LANGUAGES)

    def _translated(self, speak: Callable[[str], str]) -> V:
        raise NotImplementedError


class Catalogue(_Spoken[dict[K, str]], Generic[K]):
    """Texts by what they are for.

    Parameters
    ----------
    context : str
        Tells the group from others.
    english : dict of str
    """

    def __init__(self, context: str, english: dict[K, str]) -> None:
        super().__init__(context, english, list(english.values()))

    def _translated(self, speak: Callable[[str], str]) -> dict[K, str]:
        return {name: speak(text) for name, text in self._english.items()}


class Sentence(_Spoken[str]):
    """One text; parameters as of `Catalogue`."""

    def __init__(self, context: str, english: str) -> None:
        super().__init__(context, english, [english])

    def _translated(self, speak: Callable[[str], str]) -> str:
        return speak(self._english)


class Sentences(_Spoken[tuple[str, ...]]):
    """Texts that are shown one after the other; parameters as of `Catalogue`."""

    def __init__(self, context: str, english: tuple[str, ...]) -> None:
        super().__init__(context, english, list(english))

    def _translated(self, speak: Callable[[str], str]) -> tuple[str, ...]:
        return tuple(map(speak, self._english))
