"""Where the tests find the repository and their own data, from whatever folder they are run."""

from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
DATA = REPOSITORY / "tests" / "data"
