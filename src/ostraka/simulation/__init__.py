"""A world in which clusters of the production code run, suffer and are judged, all from one seed.

Whatever happens is an event on one heap in virtual time, drawn from dice that follow from the seed, so the same
seed is the same run. Nothing here is imitated but what lies below the node: clock, network, disk and table.
"""
