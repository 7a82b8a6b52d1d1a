"""What is asked of a real Barbican and of Chatelaine alike, by chapters."""

from support.differential import Case

from . import (
    acls,
    bodies,
    consumers,
    containers,
    listing,
    orders,
    others,
    payloads,
    quotas,
    secrets,
    user_metadata,
    versions,
)

CHAPTERS: dict[str, list[Case]] = {
    module.__name__.rsplit('.', 1)[-1]: module.CASES
    for module in (
        versions,
        bodies,
        secrets,
        payloads,
        listing,
        user_metadata,
        acls,
        consumers,
        containers,
        orders,
        quotas,
        others,
    )
}
