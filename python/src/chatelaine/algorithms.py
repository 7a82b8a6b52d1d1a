"""The algorithms that keys can be for, and the ways to encrypt data: the same registry as the key manager's.

``find_algorithm`` takes a name or alias in any case and raises ``ValueError`` where there is none, or it is refused on purpose; the
error says what there is. ``Algorithm.stores`` and ``Algorithm.generates`` tell about key lengths.
"""

from chatelaine._native import Algorithm, DataCipher, algorithms, data_ciphers, find_algorithm

__all__ = ['Algorithm', 'DataCipher', 'algorithms', 'data_ciphers', 'find_algorithm']
