"""The key manager Chatelaine, for OpenStack's services.

The modules: :mod:`chatelaine.agent` speaks to the agent of this host, :mod:`chatelaine.key_manager` is Castellan's driver,
:mod:`chatelaine.customer_key` and :mod:`chatelaine.algorithms` are the native library's.
"""

from chatelaine import _native

__version__ = _native.VERSION

__all__ = ['__version__']
