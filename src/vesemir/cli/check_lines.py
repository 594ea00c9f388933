"""Lines of ``vesemir check`` that are not simply well."""


class CheckWarning(str):
    """A line that fails nothing."""

    __slots__ = ()


class CheckProblem(str):
    """Something that is wrong, beside other things of the same part that may be well."""

    __slots__ = ()
