"""Heat's engine: stacks with resources of the key manager, in Heat's own database."""

from heat.common import config, context, messaging  # noqa: F401  (the first registers the options)
from heat.db import migration
from heat.engine import stack, stack_lock, template
from oslo_config import cfg
from oslo_utils import uuidutils

ENGINE = uuidutils.generate_uuid()


def start(configuration: str) -> None:
    cfg.CONF(['--config-file', configuration], project='heat', prog='heat-engine')
    messaging.setup()
    migration.db_sync()


def caller(who: dict) -> context.RequestContext:
    return context.RequestContext(**who)


def worked(one: stack.Stack, work) -> None:
    """Works on a stack under its lock and keeps its state, as the engine does in a thread."""
    lock = stack_lock.StackLock(one.context, one.id, ENGINE)
    with lock.thread_lock():
        work()
        one.persist_state_and_release_lock(ENGINE)


def create(who: dict, name: str, definition: dict) -> dict:
    """As the engine does: validate, store (with a trust for later work), create."""
    made = stack.Stack(caller(who), name, template.Template(definition))
    made.validate()
    made.store()
    worked(made, made.create)
    return described(made)


def show(who: dict, identity: str) -> dict:
    return described(stack.Stack.load(caller(who), identity))


def delete(who: dict, identity: str) -> dict:
    gone = stack.Stack.load(caller(who), identity)
    worked(gone, gone.delete)
    return {'state': list(gone.state), 'reason': gone.status_reason}


def described(one: stack.Stack) -> dict:
    # As the engine does before it shows outputs.
    one._update_all_resource_data(for_resources=False, for_outputs=True)
    return {
        'id': one.id,
        'state': list(one.state),
        'reason': one.status_reason,
        'trust': one.stored_context().trust_id,
        'resources': {name: resource.resource_id for name, resource in one.resources.items()},
        'outputs': {name: output.get_value() for name, output in one.outputs.items()}
        if one.status == one.COMPLETE
        else {},
    }
