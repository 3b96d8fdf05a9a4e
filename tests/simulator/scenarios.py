"""Initial contents of the simulator."""

from .instances import COUNTS

DEMO_ACCOUNT = "c3dc5f0b34a14ff8e1b3ec04895e1b22"


def empty(_tokens: list[str], _keys: list[list[str]]) -> dict:
    return {}


def demo(tokens: list[str], keys: list[list[str]]) -> dict:
    """
    One account with instances of all three generations and jobs in all states. Some jobs start and end within the first
    minute of a demo. There are instances of each type, one that is paused, and one whose jobs succeed although its
    index has errors.
    """
    namespaces = [{"name": "support", "description": "What the help desk asks"}]
    account = {"id": DEMO_ACCOUNT, "tokens": tokens, "keys": keys, "namespaces": namespaces,
               "instances": _demo_instances()}
    return {"accounts": [account]}


def _demo_instances() -> list[dict]:
    return [
        {
            "name": "instances/my-ai-search",
            "type": "r2",
            "source": "documents",
            "status": "indexing",
            "stats": _stats(completed=1880, queued=12, running=4),
            "jobs": [
                _job(1, "user", "First import", state="succeeded", starts_in=-86400, ends_in=-85000),
                _job(2, "schedule", None, state="succeeded", starts_in=-21600, ends_in=-21300, times="plain"),
                _job(3, "user", "Import of the archive", state="failed", starts_in=-9000, ends_in=-8400),
                _job(4, "user", "Wrong bucket", state="cancelled", starts_in=-8000, ends_in=-7900),
                _job(5, "user", "Nightly import", starts_in=-120, ends_in=20, end_reason="completed"),
                _job(6, "user", "Waits for the nightly import", starts_in=20, ends_in=45),
                _job(7, "schedule", None, state="queued"),
            ],
        },
        {
            "name": "instances/handbook",
            "type": "web-crawler",
            "source": "handbook.example.org",
            "sync_interval": 86400,
            "status": "indexing",
            "stats": _stats(completed=104, error=2, skipped=1, outdated=23,
                            file_embed_errors={"workers_ai_out_of_capacity_error": 23}),
            "jobs": [
                _job(11, "schedule", None, state="succeeded", missing="absent"),
                _job(12, "user", "New chapter", state="running", starts_in=-30, last_seen_every=5),
            ],
        },
        {
            "name": "namespaces/support/instances/tickets",
            "type": "r2",
            "source": "tickets",
            "sync_interval": 3600,
            "stats": {"degraded": True},
            "jobs": [
                _job(21, "schedule", "Every six hours", state="succeeded", end_reason="finished"),
                _job(22, "user", "Since the outage", state="running", starts_in=-3600, silent_in=-1800),
                _job(23, "user", "Last week's", starts_in=-40, ends_in=30, end_reason="error: source not reachable"),
            ],
        },
        {
            "name": "namespaces/support/instances/uploads",
            "type": None,
            "stats": _stats(completed=37),
        },
        {
            "name": "instances/archive",
            "type": "r2",
            "source": "archive",
            "sync_interval": 43200,
            "paused": True,
            "jobs": [
                _job(41, "schedule", None, state="superseded", starts_in=-2700000, ends_in=-2699700),
                _job(42, "schedule", None, state="succeeded", starts_in=-2699700, ends_in=-2699400),
            ],
        },
        {
            "name": "rags/old-docs",
            "jobs": [
                _job(31, "schedule", None, state="failed", times="plain"),
                _job(32, "schedule", None, state="running", times="plain", missing="absent"),
            ],
        },
    ]


def _job(number: int, source: str, description: str | None, **life) -> dict:
    return {"id": f"3f1e2d4c-5b6a-4789-8abc-{number:012d}", "source": source, "description": description, **life}


def _stats(file_embed_errors: dict | None = None, **counts: int) -> dict:
    nothing = dict.fromkeys(COUNTS, 0)
    return {**nothing, **counts, "file_embed_errors": file_embed_errors or {}, "index_source_errors": {}}


SCENARIOS = {"empty": empty, "demo": demo}
