"""Ask oslo.policy about some thousand rules and write down what it answers.

Prints one JSON object a line: the rules, the rule to check, credentials, target, and what Chatelaine must say:

* ``true`` or ``false``: what oslo.policy said;
* ``fault``: oslo.policy raised an exception, Chatelaine denies and says so;
* ``refused``: the rules must not load. ``why`` names the documented deviation.

``refused`` is decided here from the documentation of Chatelaine's rule module and from oslo.policy's own parse, never
from Chatelaine's answer. The seed is fixed: the same oslo.policy gives the same lines.
"""

import ast
import copy
import json
import keyword
import logging
import random
import re
import sys
import warnings

from oslo_config import cfg
from oslo_policy import _checks
from oslo_policy import _external
from oslo_policy import _parser
from oslo_policy import policy

SEED = 20240611
RANDOM_CASES = 4000

# ---------------------------------------------------------------- what Chatelaine documents as refused

IDENTIFIER = re.compile(r'[A-Za-z_][A-Za-z0-9_]*')
WHOLE_NUMBER = re.compile(r'0|[1-9][0-9]{0,37}')
LITERAL = re.compile(
    r"""True|False|None|'[^'\\\n\r\0]*'|"[^"\\\n\r\0]*"|[+-]?(0|[1-9][0-9]{0,37}|[0-9]+\.[0-9]+)"""
)


def is_name(segment, last):
    parts = segment.split('-')
    for position, part in enumerate(parts):
        if IDENTIFIER.fullmatch(part) and part not in keyword.kwlist:
            continue
        before_dot = position == len(parts) - 1 and not last
        if position > 0 and not before_dot and WHOLE_NUMBER.fullmatch(part):
            continue
        return False
    return True


def is_supported_subject(kind):
    if LITERAL.fullmatch(kind):
        return True
    names = kind.split('.')
    return len(names) <= 32 and all(is_name(name, i == len(names) - 1) for i, name in enumerate(names))


def is_supported_template(match):
    position = 0
    while (position := match.find('%', position)) >= 0:
        if match[position + 1 : position + 2] == '%':
            position += 2
            continue
        if match[position + 1 : position + 2] != '(':
            return False
        depth = 0
        for end in range(position + 1, len(match)):
            depth += {'(': 1, ')': -1}.get(match[end], 0)
            if depth == 0:
                break
        else:
            return False
        if match[end + 1 : end + 2] != 's':
            return False
        position = end + 2
    return True


class Complaints(logging.Handler):
    """Collects what the parser of oslo.policy logs, for it answers a broken rule with "no" and a line in the log."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def emit(self, record):
        self.count += 1


COMPLAINTS = Complaints()
logging.getLogger('oslo_policy._parser').addHandler(COMPLAINTS)
logging.getLogger('oslo_policy').propagate = False


def leaves(check):
    if isinstance(check, _checks.NotCheck):
        yield from leaves(check.rule)
    elif isinstance(check, (_checks.AndCheck, _checks.OrCheck)):
        for part in check.rules:
            yield from leaves(part)
    else:
        yield check


def why_refused(rules):
    """The documented reason for which these rules must not load, or None."""
    references = {}
    for name, rule in rules.items():
        if not isinstance(rule, (str, list)):
            return 'not a rule'
        COMPLAINTS.count = 0
        tree = _parser.parse_rule(rule)
        if COMPLAINTS.count:
            return 'syntax'
        references[name] = []
        for leaf in leaves(tree):
            if isinstance(leaf, _external.HttpCheck):
                return 'remote'
            if isinstance(leaf, _checks.RuleCheck):
                references[name].append(leaf.match)
                continue
            if not isinstance(leaf, _checks.Check):
                continue
            if isinstance(rule, str) and str(leaf)[0] == str(leaf)[-1] and str(leaf)[0] in '\'"':
                return 'quoted as a whole'
            if not is_supported_template(leaf.match):
                return 'format'
            if isinstance(leaf, _checks.GenericCheck) and not is_supported_subject(leaf.kind):
                return 'subject'
            if isinstance(leaf, _checks.GenericCheck):
                # What the documentation allows must be an expression to Python, else oslo.policy raises.
                try:
                    ast.literal_eval(leaf.kind)
                except ValueError:
                    pass
    done = set()

    def circles(name, path):
        name = name if name in rules else 'default'
        if name not in rules or name in done:
            return False
        if name in path:
            return True
        if any(circles(other, path | {name}) for other in references[name]):
            return True
        done.add(name)
        return False

    return 'circle' if any(circles(name, frozenset()) for name in rules) else None


def ask(enforcer, rules, rule, creds, target):
    why = why_refused(rules)
    if why:
        return 'refused', why
    enforcer.set_rules(policy.Rules.from_dict(rules, 'default'), use_conf=False)
    try:
        answer = enforcer.enforce(rule, copy.deepcopy(target), copy.deepcopy(creds))
    except (TypeError, AttributeError) as error:
        return 'fault', str(error)
    assert answer in (True, False), answer
    return ('true' if answer else 'false'), ''


# ---------------------------------------------------------------- hand-made cases

CREDS = {
    'user_id': 'alice',
    'project_id': 'p1',
    'domain_id': None,
    'system_scope': 'all',
    'is_admin': True,
    'is_admin_project': False,
    'level': 7,
    'ratio': 0.5,
    'roles': ['Admin', 'member', 'key-manager:service-admin', 'STRASSE', 'ΣΊΣΥΦΟΣ'],
    'service_roles': ['service'],
    'user': {'id': 'alice', 'domain': {'id': 'default', 'name': 'Default'}, 'tags': ['x', 'y', 1, None]},
    'groups': [{'id': 'g1', 'names': ['a', 'b']}, {'id': 'g2'}, {'id': 3}],
    'matrix': [[1, 2], ['a', "it's"]],
    'OS-TRUST': {'trust': {'id': 't1'}},
    'token-1': 'dashed',
    'empty': '',
    'nothing': {},
    'spaced': 'a b',
    'percent': '100%',
}

TARGET = {
    'user_id': 'alice',
    'project_id': 'p1',
    'target.secret.owner': 'alice',
    'target.secret.project_id': 'p2',
    'target.acl.read': ['bob', 'alice'],
    'none': None,
    'true': True,
    'false': False,
    'seven': 7,
    'half': 0.5,
    'big': 10**25 * 1.0,
    'small': 0.00001234,
    'edge': 1e16,
    'below_edge': 123456789012345.0,
    'max': 2**63 - 1,
    'min': -(2**63),
    'unsigned': 2**64 - 1,
    'empty': '',
    'role': 'ADMIN',
    'nested': {'secret': {'owner': 'alice'}},
    'list': ['x', "it's", 'a"b', 'tab\t', 'é', '\u200b', '\x7f', '\U0001f511', "both'\""],
    'quote': "it's",
    'a(b)c': 'paren',
    '': 'noname',
    'prefix': 'ali',
    'suffix': 'ce',
}

EXPRESSIONS = [
    # constants, operators, precedence
    '', '@', '!', 'not @', 'not !', 'not not @', '( @ )', '((@))', '(@) or !', '@ and !', '@ or !', '! or @ and !',
    '@ or ! and !', '(@ or !) and !', 'not @ or @', 'not (@ and !)', 'NOT ! AND @', '@ oR !', '! or ! or @',
    '@ and @ and !', '! and ! or @ and @', '! or (@ and @) and !', '@ or (@ and !) and !', 'not ! and not !',
    '@\tand\n@', '@\u00a0and\u2003@', '@\x1cand\x1f@', '  @  ', '\n!\n', '( not @ ) or ( not ! )',
    # broken
    ' ', '\t\n', '()', '( )', '(', ')', '@ @', '@ and', 'and @', 'or', 'not', '@ not @', '(@', '@)', '((@)', '(@))',
    '@ and or @', '@ or and @', ')@(', '(@)(@)', 'admin', 'role', "'quoted'", '"quoted"', "'a':'b'", '""', "'", '"a',
    '@ and admin', 'role:a role:b', 'role:admin, role:member', '&', '@@', '!!', '!@', 'true', 'False',
    "('a':b')", '(@)and(@)', 'role:a)b', 'role:a(b', 'rule:a)and', "('abc')", "'abc')", '( role:admin)',
    # remote
    'http://localhost/check', 'https://localhost/check', '@ or http://localhost', 'http:', 'HTTP:x', 'https:%(x)s',
    # roles
    'role:admin', 'role:ADMIN', 'role:nobody', 'role:%(role)s', 'role:%(missing)s', 'role:%(none)s', 'role:',
    'role:key-manager:service-admin', 'role:straße', 'role:strasse', 'role:σίσυφος', 'role:σίσυφοσ', 'Role:admin',
    'role:ad%(missing)smin', 'role:%%', 'role:%(role)s%%', 'not role:admin', 'role:admin and role:member',
    'role:@', 'role:!', 'role:and', 'role:not', 'role:(admin', 'role:"admin"',
    # rules
    'rule:yes', 'rule:no', 'rule:missing', 'rule:', 'rule:%(role)s', 'not rule:missing', 'rule:secret:get',
    'rule:yes and rule:no', 'rule:yes or rule:missing', 'rule:Yes', 'rule:default',
    # credentials
    'user_id:alice', 'user_id:Alice', 'user_id:%(user_id)s', 'user_id:%(target.secret.owner)s',
    'project_id:%(target.secret.project_id)s', 'user_id:%(missing)s', 'missing:%(user_id)s', 'missing:None',
    'domain_id:None', 'domain_id:%(none)s', 'domain_id:', 'is_admin:True', 'is_admin:true', 'is_admin:%(true)s',
    'is_admin:1', 'is_admin_project:False', 'level:7', 'level:%(seven)s', 'level:07', 'ratio:0.5', 'ratio:%(half)s',
    'user.id:alice', 'user.id:%(user_id)s', 'user.domain.id:default', 'user.domain.name:%(x)s', 'user.domain:x',
    'user.domain.id.more:default', 'user.missing:x', 'user.tags:x', 'user.tags:1', 'user.tags:None', 'user.tags:z',
    'user_id.x:alice', 'domain_id.x:alice', 'level.x:1', 'groups.id:g1', 'groups.id:g2', 'groups.id:3', 'groups.id:g3',
    'groups.names:b', 'groups.names:c', 'groups.names.x:b', 'groups:g1', 'matrix:[1,', 'matrix:x', 'matrix.x:1',
    'roles:Admin', 'roles:admin', 'service_roles:service', 'OS-TRUST.trust.id:t1', 'OS-TRUST:x', 'token-1:dashed',
    'empty:', 'empty:%(empty)s', 'nothing:{}', 'nothing.x:1', 'nothing:x', 'spaced:%(spaced)s', 'percent:100%%',
    'user_id:%(prefix)s%(suffix)s', 'user_id:%(prefix)sce', 'user_id:a%(missing)s%(suffix)s', 'user_id:ali%(suffix)s',
    'not user_id:%(missing)s', 'not missing:x', 'not user_id.x:alice', 'user_id.x:alice or @', '@ or user_id.x:alice',
    '! and user_id.x:alice', 'system_scope:all', 'system:all', 'system:None', 'not system:all', 'system.x:all',
    'user_id:%(a(b)c)s', "'paren':%(a(b)c)s", "'noname':%()s", "'alice':%(user_id)s", '"alice":%(user_id)s',
    'user_id:@', 'user_id:', 'user_id::', 'user_id:a:b', 'user:alice', 'target.secret.owner:alice',
    # literals
    "'ADMIN':%(role)s", "'admin':%(role)s", 'True:%(true)s', 'False:%(false)s', 'True:%(false)s', 'true:%(true)s',
    'None:%(none)s', 'None:None', 'None:%(missing)s', '7:%(seven)s', '+7:7', '-7:-7', '-0:0', '0:0', '07:07', '00:0',
    '0.5:%(half)s', '0.50:%(half)s', '-0.0:-0.0', '007.50:7.5', '1.:1.0', '.5:0.5', '1e3:1000.0', '1_000:1000',
    '0x10:16', '1j:1j', '1+2:3', '1-2:3', "'':%(empty)s", "'':", '"it\'s":%(quote)s', "'it\\'s':%(quote)s",
    "b'x':x", "u'x':x", "r'x':x", "f'x':x", "'a''b':ab", "'''x''':x", '[]:[]', '():()', '{}:{}', '...:Ellipsis',
    "'nested':%(nested)s", "'x':%(list)s", '100000000000000000000.0:1e+20', '0.00001:1e-05',
    '1234567890123456789012345:1234567890123456789012345', '9.99:%(seven)s', "'%':%%", "'100%':100%%",
    "'10000000000000000.0':%(edge)s", "'1e+16':%(edge)s", "'1e+25':%(big)s", "'1.234e-05':%(small)s",
    "'123456789012345.0':%(below_edge)s", '9223372036854775807:%(max)s', '-9223372036854775808:%(min)s',
    '18446744073709551615:%(unsigned)s',
    # left sides Python does not take, or takes for something else
    ':x', '.:x', 'a.:x', '.a:x', 'a..b:x', 'user.0:x', 'user.class:x', 'class:x', 'is:x', 'lambda:x', 'not:x', 'or:x',
    'user.True:x', 'a-b-c:x', 'a-:x', '-a:x', 'a--b:x', 'a-1:x', 'a-1.b:x', 'a-1-b.c:x', 'a-01:x', 'a-1b:x', 'a+b:x',
    'a/b:x', 'a@b:x', 'a|b:x', 'a[0]:x', 'a():x', 'é:x', 'a é:x', 'a,b:x', 'a;b:x', 'a#b:x', '#:x', '$x:x', '%(x)s:y',
    'match:x', 'type:x', 'print:x', '_:x', '__x__:x', 'async:x', 'await:x', 'a=b:x', 'a==b:x', '*a:x', '`a`:x', '\\:x',
    # formats
    'user_id:%', 'user_id:%s', 'user_id:%d', 'user_id:%(user_id)', 'user_id:%(user_id)d', 'user_id:%(seven)d',
    'user_id:%(user_id)r', 'user_id:%(user_id)10s', 'user_id:%(user_id', 'user_id:%user_id', 'user_id:%%(user_id)s',
    'user_id:100%', 'role:%s', 'role:%(role)', 'role:%(role)d', "'100%':%(x)s%", 'user_id:%( user_id)s',
    'user_id:%(user_id)sx', '(user_id:%(user_id)s)', '((user_id:%(user_id)s) and @)', 'user_id:%(user_id)%',
]

LISTS = [
    [], [[]], [[], []], [''], ['', []], ['@'], ['!'], [['@', '!']], [['@'], ['!']], ['!', '@'], ['role:admin'],
    [['role:admin', 'user_id:alice']], [['role:nobody', 'user_id:alice']], [['role:nobody'], ['user_id:alice']],
    ['role:nobody', ['user_id:alice', 'role:member']], [[], ['role:nobody']], ['rule:yes'], [['rule:no'], 'rule:yes'],
    ['role:admin and role:member'], ['not role:admin'], [['']], [['role:admin', '']], ['(role:admin)'], ['spaced:a b'],
    [["'a b':a b"]], [["'a':'a'"]], ["'quoted'"], [['http://x']], [[' user_id:alice']], [['role: admin']],
    ['role:%(role)s'], ['user_id:%(missing)s'], ['user id:x'], ['admin'], [['user_id:%(user_id)s)']], [["'x\ny':x"]],
    ["'a\tb':a\tb"], ["'%( x )s':%%( x )s"], ["'v':%(a b)s"],
]

FIXED = {'yes': '@', 'no': '!', 'secret:get': 'role:admin', 'ADMIN': '@'}

RULE_SETS = [
    # (rules, rule to check)
    ({}, 'a'),
    ({'a': '@'}, 'b'),
    ({'a': '@', 'default': '@'}, 'b'),
    ({'a': '@', 'default': '!'}, 'b'),
    ({'a': '@', 'default': ''}, 'b'),
    ({'a': 'rule:b', 'default': '@'}, 'a'),
    ({'a': 'rule:b', 'default': '!'}, 'a'),
    ({'a': 'not rule:b', 'default': '!'}, 'a'),
    ({'a': 'rule:b', 'default': 'rule:c', 'c': '@'}, 'a'),
    ({'default': 'rule:b'}, 'a'),
    ({'default': 'rule:default'}, 'a'),
    ({'a': 'rule:a'}, 'a'),
    ({'a': 'not rule:a'}, 'a'),
    ({'a': 'rule:b', 'b': 'rule:a'}, 'a'),
    ({'a': '@ or rule:b', 'b': 'rule:c', 'c': 'role:x and (rule:b)'}, 'a'),
    ({'a': 'rule:b and rule:c', 'b': 'rule:d', 'c': 'rule:d', 'd': '@'}, 'a'),
    ({'a': 'rule:b', 'b': 'not rule:c', 'c': [['rule:d'], ['role:admin']], 'd': '!'}, 'a'),
    ({'a': '@', 'broken': '(('}, 'a'),
    ({'a': '@', 'remote': 'http://x'}, 'a'),
    ({'': '@', 'a': 'rule:'}, 'a'),
    ({'a:b:c': 'user_id:alice', 'x': 'rule:a:b:c'}, 'x'),
    ({'a': None}, 'a'),
    ({'a': True}, 'a'),
    ({'a': 1}, 'a'),
    ({'a': {'role:admin': 'x'}}, 'a'),
    ({'A': '@', 'a': '!'}, 'A'),
]

ODD_CREDS = [
    {}, {'roles': []}, {'roles': None}, {'roles': 7}, {'roles': True}, {'roles': [None, 'admin']},
    {'roles': ['admin', 3]}, {'roles': [['admin']]}, {'roles': ['']}, {'roles': ['None']},
    {'system': 'all'}, {'system': 'x', 'system_scope': 'all'}, {'system': 'all', 'system_scope': None},
    {'system': 'all', 'system_scope': ''}, {'system': 'all', 'system_scope': 0}, {'system_scope': {'x': 'all'}},
    {'system_scope': ['all', 'some']}, {'system': 'all', 'system_scope': []}, {'system': 'all', 'system_scope': {}},
    {'system_scope': True}, {'user': None}, {'user': []}, {'user': [[{'id': 'alice'}]]}, {'user': [{'id': 'alice'}, 5]},
    {'user': [5, {'id': 'alice'}]}, {'user': {'id': {'a': 1, 'b': [None, True, 'x', 1.0]}}}, {'user': {'id': ['alice']}},
]
ODD_RULES = [
    'role:admin', 'role:None', 'role:', 'not role:admin', 'role:admin or @', 'role:%(missing)s', 'system:all',
    'not system:all', 'system:True', 'system.x:all', 'system_scope:all', 'user.id:alice', 'not user.id:alice',
    'user.id:%(shape)s', 'user:None', 'user:[]', 'user:%(shape)s', "not user.id:x and 'x':x", 'user.id.a:1', 'user.id.b:x',
]
SHAPES = [{'a': 1, 'b': [None, True, 'x', 1.0]}, [{'id': 'alice'}], {}, [], None, [[1], {}]]

# ---------------------------------------------------------------- random cases

LEAVES = [
    '@', '!', 'role:admin', 'role:Member', 'role:x', 'role:%(role)s', 'rule:yes', 'rule:no', 'rule:helper', 'rule:gone',
    'user_id:%(user_id)s', 'user_id:%(owner)s', 'project_id:%(target.secret.project_id)s', 'user.id:%(owner)s',
    'user.domain.id:%(d)s', 'is_admin:True', 'is_admin:%(flag)s', 'level:%(n)s', 'level:1', "'x':%(role)s", 'None:%(n)s',
    'True:%(flag)s', 'system:all', 'system_scope:all', 'groups.id:%(n)s', 'groups.id:g1', 'user.tags:x', '1:%(n)s',
    'trust.id.deep:x', "'a-b':%(owner)s", 'user_id:%(owner)s-%(n)s', 'user_id:%%', 'service_roles:service', '1.0:%(n)s',
]  # fmt: skip
VALUES = ['alice', 'bob', 'p1', 'x', 'admin', '', None, True, False, 0, 1, 1.0, 'None', 'True', '1', 'alice-1', ['x', 1]]
TREES = [{'id': 'alice'}, {'id': 1, 'domain': {'id': 'x'}, 'tags': ['x', 'y']}, {'tags': 'x', 'domain': None}, 'alice',
         None, [{'id': 'alice'}, {'id': 'bob', 'tags': []}], {'domain': [{'id': 'x'}, {'id': 'alice'}]}]  # fmt: skip
SPACES = [' ', ' ', ' ', '  ', '\t', '\n', ' \n ', '\u00a0', '\x1d']
NOISE = ['(', ')', "'", '"', ' ', ':', '%', '%(', ')s', '.', 'and', ' or ', 'not ', '@', '!', '\\', '-', ',', 'é', '0', 's']


def random_expression(rng, depth):
    space = rng.choice(SPACES)
    shape = rng.random()
    if depth == 0 or shape < 0.25:
        return rng.choice(LEAVES)
    if shape < 0.4:
        return 'not' + space + random_expression(rng, depth - 1)
    if shape < 0.6:
        inner = random_expression(rng, depth - 1)
        return rng.choice(['(', '( ']) + inner + rng.choice([')', ' )', '\n)'])
    operator = rng.choice(['and', 'or', 'AND', 'Or'])
    parts = [random_expression(rng, depth - 1) for _ in range(rng.choice([2, 2, 3]))]
    return (space + operator + rng.choice(SPACES)).join(parts)


def random_rule(rng):
    if rng.random() < 0.12:
        return [
            rng.choice([rng.choice(LEAVES), [rng.choice(LEAVES) for _ in range(rng.randint(0, 3))]])
            for _ in range(rng.randint(0, 3))
        ]
    text = random_expression(rng, rng.randint(0, 5))
    while rng.random() < 0.15:
        at = rng.randint(0, len(text))
        text = rng.choice([
            text[:at] + rng.choice(NOISE) + text[at:],
            text[: max(at - 1, 0)] + text[at:],
            text[:at],
        ])
    return text


def random_case(rng):
    rules = {'yes': '@', 'no': '!', 'helper': 'role:admin or user_id:%(owner)s', 'checked': random_rule(rng)}
    if rng.random() < 0.3:
        rules['helper'] = rng.choice(['not role:x', 'rule:yes', 'user.id:%(owner)s', 'rule:gone', 'rule:checked'])
    if rng.random() < 0.3:
        rules['default'] = rng.choice(['@', '!', '', 'role:member', 'rule:helper', [['role:admin']]])
    creds = {}
    for name in ('user_id', 'project_id', 'is_admin', 'level', 'system', 'system_scope'):
        if rng.random() < 0.7:
            creds[name] = rng.choice(VALUES + ['all'])
    if rng.random() < 0.9:
        creds['roles'] = rng.sample(['admin', 'Member', 'MEMBER', 'x', 'reader', 'None', 'é'], rng.randint(0, 4))
    for name in ('user', 'groups', 'trust'):
        if rng.random() < 0.7:
            creds[name] = rng.choice(TREES)
    if rng.random() < 0.3:
        creds['service_roles'] = ['service']
    target = {
        name: rng.choice(VALUES)
        for name in ('user_id', 'owner', 'target.secret.project_id', 'role', 'd', 'flag', 'n')
        if rng.random() < 0.85
    }
    return rules, rng.choice(['checked'] * 12 + ['absent', 'helper']), creds, target


def cases():
    for rule in EXPRESSIONS + LISTS:
        for creds, target in ((CREDS, TARGET), ({}, {}), (CREDS, {}), ({'roles': ['x'], 'user_id': None}, TARGET)):
            yield {**FIXED, 'checked': rule}, 'checked', creds, target
        # An answer of "no" alone does not tell a refusal from a denial under `not`.
        if isinstance(rule, str):
            yield {**FIXED, 'checked': 'not ' + rule}, 'checked', CREDS, TARGET
            yield {**FIXED, 'default': '@', 'checked': f'( {rule} ) and role:admin'}, 'checked', CREDS, TARGET
    for rules, rule in RULE_SETS:
        yield rules, rule, CREDS, TARGET
    for creds in ODD_CREDS:
        for rule in ODD_RULES:
            for shape in SHAPES if 'shape' in rule else SHAPES[:1]:
                yield {'checked': rule}, 'checked', creds, {'shape': shape}
    # The text of a list is compared as a whole.
    for text in TARGET['list'] + ['', '\\', '\r\n', 'a\u0301', '\u0301', '\xad', '\ue000', '\u3000', '中', '\u2028']:
        for creds in ({'x': [[text]]}, {'x': {'y': {text: text}}}):
            yield {'checked': 'x:%(t)s'}, 'checked', creds, {'t': [text]}
            yield {'checked': 'x:%(t)s'}, 'checked', creds, {'t': str([text])}
            yield {'checked': 'x.y:%(t)s'}, 'checked', creds, {'t': str({text: text})}
    rng = random.Random(SEED)
    for _ in range(RANDOM_CASES):
        yield random_case(rng)


def main():
    warnings.simplefilter('ignore')
    conf = cfg.ConfigOpts()
    conf([])
    enforcer = policy.Enforcer(conf, use_conf=False, default_rule='default')
    for rules, rule, creds, target in cases():
        # Sorted, so that the text of a mapping does not depend on how JSON is read.
        case = json.loads(json.dumps({'rules': rules, 'rule': rule, 'creds': creds, 'target': target}, sort_keys=True))
        case['expected'], case['why'] = ask(enforcer, **case)
        sys.stdout.write(json.dumps(case, sort_keys=True) + '\n')


if __name__ == '__main__':
    main()
