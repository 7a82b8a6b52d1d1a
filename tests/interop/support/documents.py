"""What documentation says, taken from its pages, so that tests do what readers do."""

from .chatelaine import WORKSPACE


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    text = (WORKSPACE / page).read_text()
    found = [part.split('\n```', 1)[0] for part in text.split(f'\n```{language}\n')[1:]]
    assert found, f'{page} has no block of {language}'
    return found


def fragment(page: str, first_line: str, language: str = 'ini') -> str:
    """The only block of a page that begins so."""
    (found,) = [block for block in blocks(page, language) if block.startswith(first_line)]
    return found


def section(page: str, title: str) -> list[str]:
    """The commands under a title: lines that are indented by four."""
    _, after = (WORKSPACE / page).read_text().split(f'\n## {title}\n', 1)
    lines = [line.rstrip() for line in after.split('\n## ', 1)[0].splitlines() if line.startswith('    ')]
    assert lines, f'{page} has no commands under {title}'
    return [line.removeprefix('    ') for line in lines]
