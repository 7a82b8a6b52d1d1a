"""Castellan's driver ``chatelaine``: :class:`chatelaine.key_manager.driver.ChatelaineKeyManager`."""
