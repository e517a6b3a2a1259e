"""The two sides of the federated training: what runs at a hospital, and what averages the weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg, FedProx

from export.federated.hospital import FederatedTerms, Hospital, start_model, train
from export.files import atomically

client = ClientApp()
server = ServerApp()
_WAIT = 6 * 3600.0
"""Seconds to wait for the slowest hospital of a round."""


@client.train()  # type: ignore[untyped-decorator]  # Flower is installed elsewhere
def train_at_hospital(message: Message, context: Context) -> Message:
    """Train one round on the slices of this hospital and send back the weights, nothing else of the images."""
    settings = message.content["config"]
    terms = FederatedTerms(**json.loads(str(settings["terms"])))
    place = context.node_config
    hospital = Hospital.read(
        Path(str(place["data"])), [str(place["hospital"])], terms.configured(), Path(str(place["cache"]))
    )
    number = int(settings["server-round"]) - 1
    weights, loss = train(
        hospital,
        terms,
        message.content["arrays"].to_numpy_ndarrays(),
        range(number, number + 1),
        proximal=float(settings.get("proximal-mu", 0.0)),
    )
    figures = MetricRecord({"num-examples": len(hospital.fit), "loss": loss})
    return Message(content=RecordDict({"arrays": ArrayRecord(weights), "metrics": figures}), reply_to=message)


@server.main()  # type: ignore[untyped-decorator]
def average(grid: Grid, context: Context) -> None:
    """Let the hospitals train round by round, average their weights, and keep the last average."""
    from flwr.app import ConfigRecord

    config = context.run_config
    terms = FederatedTerms(**json.loads(str(config["terms"])))
    count = int(config["hospitals"])
    common = {"fraction_evaluate": 0.0, "min_train_nodes": count, "min_available_nodes": count}
    strategy = FedAvg(**common) if config["strategy"] == "fedavg" else FedProx(**common, proximal_mu=terms.proximal)
    result = strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord(start_model(terms).get_weights()),
        num_rounds=terms.rounds,
        timeout=_WAIT,
        train_config=ConfigRecord({"terms": str(config["terms"])}),
    )
    losses = [
        dict(result.train_metrics_clientapp[number]).get("loss") for number in sorted(result.train_metrics_clientapp)
    ]
    if len(losses) != terms.rounds:
        raise RuntimeError(f"{len(losses)} of {terms.rounds} rounds were trained")
    arrays = {f"w{index}": array for index, array in enumerate(result.arrays.to_numpy_ndarrays())}
    atomically(
        Path(str(config["out"])), lambda partial: np.savez(partial, losses=np.array(losses, np.float64), **arrays)
    )
