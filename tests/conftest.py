"""What every test gets: no leaked task or socket, and no blocking call on the event loop."""

pytest_plugins = ["pytester", "tests.fix_loop", "tests.fix_leaks", "tests.fix_blocking", "tests.fix_kafka"]
