"""The explorers whose mathematics is exact: all but those that a network draws."""

from cfgtoy.explorers import (
    FieldExplorer,
    ForwardExplorer,
    ParticleExplorer,
    SamplingExplorer,
    TemperatureExplorer,
    TradeoffExplorer,
    WeightExplorer,
)

EXACT = (
    ForwardExplorer,
    FieldExplorer,
    ParticleExplorer,
    SamplingExplorer,
    TemperatureExplorer,
    TradeoffExplorer,
    WeightExplorer,
)
