from . import (
    arrays as arrays,
)
from . import (
    demo as demo,
    dist as dist,
)
from . import (
    export as export,
)
from . import (
    files as files,
)
from . import (
    io as io,
)
from . import (
    latent as latent,
)
from . import (
    metrics as metrics,
)
from . import (
    model as model,
)
from . import (
    nn as nn,
)
from . import (
    noise as noise,
)
from . import (
    objective as objective,
)
from . import (
    plot as plot,
)
from . import (
    synth as synth,
)
from . import (
    train as train,
)
from .arrays import cut as cut
from .denoising import denoise as denoise
from .io import ReadError as ReadError
from .io import read as read
from .io import to_stream as to_stream
from .io import write as write
from .latent import encode as encode
from .latent import generate as generate
from .model import (
    Autoencoder as Autoencoder,
)
from .model import (
    autoencoder as autoencoder,
)
from .model import (
    denoiser as denoiser,
)
from .model import (
    load as load,
)
from .model import (
    save as save,
)
from .nn import device as device
from .noise import AddNoise as AddNoise
from .noise import GaussianNoise as GaussianNoise
from .noise import Mask as Mask
from .objective import Objective as Objective
from .train import Anneal as Anneal
from .train import fit as fit
