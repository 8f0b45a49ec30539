"""Profiles of Hypothesis for all tests: ``--hypothesis-profile=thorough`` looks at 25 times as many examples."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("thorough", max_examples=2_500)
