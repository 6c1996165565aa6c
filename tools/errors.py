"""The errors a user can meet; each message says what to do next."""


class DetailScribeError(Exception):
    """Base of every error that is the user's to mend; the command line prints it in one line, exit status 2."""


class PromptError(DetailScribeError):
    """The prompt cannot be read by the decomposer."""


class SettingsError(DetailScribeError):
    """A setting, a policy name, a folder or a file is not usable."""


class ModelError(DetailScribeError):
    """Model weights are missing, corrupt or of another kind."""


class MissingLatentError(DetailScribeError):
    """A trajectory was to be resumed at a step that was not kept."""
