"""Parameter-efficient adaptation: a few learned parameters beside a base that stays as it is.

    task = Adapted(task=Classification(model=bert), adapters=(Lora(rules=(("attention/", 8),)),), own=("^head/",))
    Experiment(task=task, freeze=("^base/",), start_from=BaseFrom(start=Pretrained(...)), ...)

Every model does as it is. Without adapters, `own` is what learns of a frozen base: `("^head/",)` the head alone,
`("bias$", "^head/")` BitFit (Ben Zaken et al. 2022).
"""

from jaxai.adapt.efficient.adapted import Adapted, BaseFrom
from jaxai.adapt.efficient.layers import Houlsby, Lora
from jaxai.adapt.efficient.saved import Adapters, extract, load_adapters, merge, save_adapters
from jaxai.adapt.efficient.tokens import Prefix, Prompt

__all__ = [
    "Adapted", "Adapters", "BaseFrom", "Houlsby", "Lora", "Prefix", "Prompt", "extract", "load_adapters", "merge",
    "save_adapters",
]  # fmt: skip
