"""What tests of several folders share: a scriptable server, a proxy, clocks for waiting."""
