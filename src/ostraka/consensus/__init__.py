"""Consensus protocols, each readable beside its paper, all behind `ostraka.model.engine`."""
