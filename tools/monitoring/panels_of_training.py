"""Of a run: where it stands, whether it learns, how fast."""

from typing import Final

from tools.monitoring.panel import Panel, Query, Row
from tools.monitoring.queries_of_runs import BY_RUN, OF_RUN, gauge, quantile, rate_of

STANDING: Final = Row(
    "Where it stands",
    (
        Panel(
            title="State",
            unit="short",
            kind="word",
            width=4,
            height=4,
            shows="What the driver says it is doing, and why.",
            good="Running, or Saving for moments.",
            otherwise="the reason is a word of the table in docs/kubernetes.md; `kubectl describe "
            "trainingrun` has the whole sentence.",
            queries=(Query(f"synthray_run_state{{{OF_RUN}}}", "{{state}} {{reason}}"),),
        ),
        Panel(
            title="Progress",
            unit="percentunit",
            kind="number",
            width=4,
            height=4,
            least=0,
            most=1,
            shows="Images seen over images seen at the end.",
            good="it grows.",
            otherwise="see docs/runbooks/alerts/SynthrayNoSteps.md.",
            queries=(Query(f"{gauge('run_images_seen')} / {gauge('run_planned_images')}", "done"),),
        ),
        Panel(
            title="Time left",
            unit="s",
            kind="number",
            width=4,
            height=4,
            shows="Time to the last epoch's end at the present speed.",
            good="it falls as fast as the clock runs.",
            otherwise="more workers make it shorter and change nothing else: kubectl scale trainingrun.",
            queries=(Query(gauge("train_eta_seconds"), "left"),),
        ),
        Panel(
            title="Epochs done",
            unit="short",
            kind="number",
            width=4,
            height=4,
            shows="Whole epochs, of those wanted.",
            good="it grows.",
            otherwise="see docs/runbooks/alerts/SynthrayNoSteps.md.",
            queries=(
                Query(gauge("train_epoch"), "done"),
                Query(gauge("run_epochs"), "wanted"),
            ),
        ),
        Panel(
            title="Workers",
            unit="short",
            kind="number",
            width=4,
            height=4,
            shows="Workers that compute, and those that could with the nodes there are.",
            good="both are the same.",
            otherwise="see docs/runbooks/alerts/SynthrayBelowRequestedWorkers.md.",
            queries=(
                Query(gauge("train_workers", ',state="ready"'), "ready"),
                Query(gauge("train_workers", ',state="desired"'), "desired"),
            ),
        ),
        Panel(
            title="Goodput",
            unit="percentunit",
            kind="number",
            width=4,
            height=4,
            least=0,
            most=1,
            limits=(0.9, 0.7),
            shows="Time spent on steps that count over time elapsed, over the run's whole life.",
            good="above 90 %.",
            otherwise="the panel 'Where its time went' says what took the rest.",
            queries=(Query(gauge("run_goodput_ratio"), "goodput"),),
        ),
    ),
)

LEARNING: Final = Row(
    "Does it learn",
    (
        Panel(
            title="Loss",
            unit="none",
            shows="Mean loss of each global batch, and of held-out patients under fixed noise once an epoch.",
            good="it falls, steeply at first, then slowly; both stay together.",
            otherwise="held-out loss that rises while the other falls is overfitting: stop at the best "
            "model. Loss that jumps: look at gradient norm and learning rate.",
            queries=(
                Query(gauge("train_loss"), "training"),
                Query(gauge("train_validation_loss"), "held out"),
            ),
        ),
        Panel(
            title="Loss by timestep",
            unit="none",
            shows="Loss by tenth of the noise range; 0 is the least noise. A tenth without an image in the "
            "newest batch has a gap.",
            good="all fall; the tenths with little noise are the last to.",
            otherwise="one tenth that rises alone points to the schedule or its weights.",
            queries=(
                Query(
                    f"max by (bucket) (synthray_train_loss_by_timestep{{{OF_RUN}}} >= 0)", "tenth {{bucket}}"
                ),
            ),
        ),
        Panel(
            title="Gradient norm",
            unit="none",
            shows="Norm of the gradient before clipping.",
            good="steady, or falling slowly.",
            otherwise="a steady rise comes before divergence: see "
            "docs/runbooks/alerts/SynthrayLossNotFinite.md.",
            queries=(Query(gauge("train_gradient_norm"), "norm"),),
        ),
        Panel(
            title="Learning rate",
            unit="sci",
            shows="Learning rate of the newest step; a function of images seen alone.",
            good="it rises while warming up, then follows its schedule, over restarts too.",
            otherwise="compare with spec.optimization.",
            queries=(Query(gauge("train_learning_rate"), "rate"),),
        ),
        Panel(
            title="Loss scale",
            unit="none",
            shows="Factor of the loss with fp16; 1 with everything else.",
            good="1, or a power of two that stays.",
            otherwise="one that falls on and on says that gradients overflow: see "
            "docs/runbooks/alerts/SynthrayStepsRecomputed.md.",
            queries=(Query(gauge("train_loss_scale"), "scale"),),
        ),
        Panel(
            title="Steps computed again",
            unit="short",
            least=0,
            shows="Steps that gave a value that is not finite and were computed again, within the interval.",
            good="none; with fp16 a few at the beginning.",
            otherwise="see docs/runbooks/alerts/SynthrayStepsRecomputed.md.",
            queries=(
                Query(
                    f"sum {BY_RUN} "
                    f"(increase(synthray_train_nonfinite_steps_total{{{OF_RUN}}}[$__rate_interval]))",
                    "again",
                ),
            ),
        ),
    ),
)

SPEED: Final = Row(
    "How fast",
    (
        Panel(
            title="Throughput",
            unit="short",
            least=0,
            shows="Images per second: as the workers measure over their newest steps, and counted over all "
            "time.",
            good="both lines lie together and are steady, in steps where the number of workers changed.",
            otherwise="the counted line below the other: time goes to saves, restarts or storage. Both fall: "
            "see docs/runbooks/alerts/SynthrayThroughputDrop.md.",
            queries=(
                Query(gauge("train_images_per_second"), "of the newest steps"),
                Query(rate_of("train_images_total"), "counted"),
            ),
        ),
        Panel(
            title="Time of a step",
            unit="s",
            least=0,
            shows="Median and slowest hundredth of the steps, data wait included.",
            good="the two lie close together.",
            otherwise="a slow hundredth is one worker's trouble, since each step waits for all: look for a "
            "node that is throttled or shared.",
            queries=(
                Query(quantile(0.5, "train_step_seconds"), "median"),
                Query(quantile(0.99, "train_step_seconds"), "slowest 1 %"),
            ),
        ),
        Panel(
            title="Waiting for data",
            unit="percentunit",
            least=0,
            most=1,
            limits=(0.1, 0.2),
            shows="Share of the steps' time that workers wait for images.",
            good="below 5 % once caches are full.",
            otherwise="see docs/runbooks/alerts/SynthrayDataWait.md.",
            queries=(
                Query(
                    f"{rate_of('train_data_wait_seconds_total')} / {rate_of('train_step_seconds_sum')}",
                    "waiting",
                ),
            ),
        ),
    ),
)
