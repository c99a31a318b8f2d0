"""What a refusal advises: the smallest change of the build with which a network would fit."""

__all__ = ["built_with"]


def built_with(option: str, value: int, most: int) -> str:
    """The end of a refusal: build it with an option of ``addax generate``, where engines may have it."""
    return f"build it with --{option} {value}" if value <= most else f"no engine has more than {most:,} {option}"
