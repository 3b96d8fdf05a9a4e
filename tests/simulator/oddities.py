"""Responses that are odd, though not wrong, on request: real ones occur in all these forms."""

import dataclasses

RESULT_INFO = ("full", "partial", "none")
_PARTIAL = ("count", "per_page")


@dataclasses.dataclass(frozen=True)
class Oddity:
    result_info: str = "full"  # partial: only count and per_page
    ignore_page: bool = False  # a list returns its first page for any page number
    error_codes: bool = True  # False: errors have no code
    messages: list = dataclasses.field(default_factory=list)  # in the envelope

    def __post_init__(self) -> None:
        if self.result_info not in RESULT_INFO:
            raise ValueError(f"result_info is one of {', '.join(RESULT_INFO)}")

    def spoil(self, envelope: dict) -> dict:
        """Applies the oddities to a response."""
        envelope = dict(envelope)
        if "result_info" in envelope and self.result_info != "full":
            info = envelope.pop("result_info")
            if self.result_info == "partial":
                envelope["result_info"] = {name: info[name] for name in _PARTIAL}
        if not self.error_codes:
            envelope["errors"] = [{name: value for name, value in error.items() if name != "code"}
                                  for error in envelope["errors"]]
        if self.messages:
            envelope["messages"] = self.messages
        return envelope
