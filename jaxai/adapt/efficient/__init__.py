"""Parameter-efficient adaptation: a few learned parameters beside a base that stays as it is.

    task = Adapted(task=Classification(model=bert), adapters=(Lora(rules=(("attention/", 8),)),), own=("^head/",))
    Experiment(task=task, freeze=("^base/",), start_from=BaseFrom(start=Pretrained(...)), ...)

Every model does as it is. Frozen layers and BitFit (Ben Zaken et al. 2022: biases alone learn) need no task of their
own: `freeze=all_but("bias$", "^head/")`.
"""

from jaxai.adapt.efficient.adapted import Adapted, BaseFrom, all_but
from jaxai.adapt.efficient.layers import Houlsby, Lora
from jaxai.adapt.efficient.saved import Adapters, extract, load_adapters, merge, save_adapters
from jaxai.adapt.efficient.tokens import Prefix, Prompt

__all__ = [
    "Adapted", "Adapters", "BaseFrom", "Houlsby", "Lora", "Prefix", "Prompt", "all_but", "extract", "load_adapters",
    "merge", "save_adapters",
]  # fmt: skip
