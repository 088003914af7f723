"""Signals that browsers and consent managers send: TC strings, GPP strings and Global Privacy Control.

The strings may come from anybody. So each decoder takes time and memory that grow with the string's length only: ids
stay ranges, and no range is expanded before its size is known.
"""
