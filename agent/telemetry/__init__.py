"""A run as OpenTelemetry spans with OpenInference attributes, from its trace or while it goes on (extra ``otel``)."""

from ...tools.errors import SettingsError

try:
    import opentelemetry.sdk.trace as _sdk
except ModuleNotFoundError as error:
    raise SettingsError("spans need OpenTelemetry: pip install 'detailscribe[otel]'") from error

from .export import ExportError, export_run, spans_of
from .spans import Telemetry

del _sdk

__all__ = ["ExportError", "Telemetry", "export_run", "spans_of"]
