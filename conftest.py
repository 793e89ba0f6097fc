"""The root of both test trees; `chaos.plugin` is loaded by its entry point, so a scenario needs nothing from here."""

pytest_plugins = ["pytester"]  # tests/ runs pytest inside pytest to see what a user sees
