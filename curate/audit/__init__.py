"""Stages that measure and change nothing."""
