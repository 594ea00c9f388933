"""The settings for a command, or one line for everything that is wrong with them."""

import os
import tomllib

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsError

from vesemir.adapters.toml_lines import path_text, reason_of
from vesemir.cli.complaint import ProblemsError
from vesemir.cli.variables import meant_key, unknown_variables
from vesemir.settings import Settings, settings_file


class ConfigurationError(ProblemsError):
    """The settings cannot be used."""


def load_settings() -> Settings:
    """Raises ``ConfigurationError``. A value is never repeated: it may be a password."""
    file = settings_file()
    if "VESEMIR_CONFIG" in os.environ and not file.is_file():
        raise ConfigurationError([f"VESEMIR_CONFIG names {file}, which is no file; correct it, or unset it"])
    if unknown := unknown_variables(os.environ):
        raise ConfigurationError(unknown)
    try:
        return Settings()
    except ValidationError as error:
        raise ConfigurationError([_line(detail) for detail in error.errors(include_url=False)]) from error
    except SettingsError as error:
        raise ConfigurationError([f"settings: {error}; write the value as JSON"]) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError([f"settings: {file} is no TOML: {error}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError([f"settings: {file} is not UTF-8 text"]) from error
    except OSError as error:
        raise ConfigurationError(
            [f"settings: {error.filename or file} cannot be read: {error.strerror}; check its owner and mode"]
        ) from error


def _line(detail: ErrorDetails) -> str:
    """With both ways in which the setting may have been given: the file's and the environment's."""
    path = detail["loc"]
    if not path:
        return f"settings: {reason_of(detail)}"
    variable = "VESEMIR_" + "__".join(str(part).upper() for part in path)
    where = f"{variable} or {settings_file()}"
    reason = f"unknown key{meant_key(variable)}" if detail["type"] == "extra_forbidden" else reason_of(detail)
    return f"settings: {path_text(path)}: {reason} (see {where})"
