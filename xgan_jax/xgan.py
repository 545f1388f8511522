"""XGAN: two auto-encoders whose middle is shared; to translate is to cross them.

Royer et al. 2017, "XGAN: Unsupervised Image-to-Image Translation for Many-to-Many Mappings"
(arXiv 1711.05139). With encoders e and decoders d, a picture x of domain s becomes d_t(e_s(x)) in
domain t. The losses below stand in the order of the paper; what it leaves open (kernel,
normalisation, the classifier's layers, weights) is a field of `Networks` or `Weights`, and
`docs/choices.md` says why each default is what it is.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key

from xgan_jax import losses
from xgan_jax.config import Config
from xgan_jax.method import Extra, Images, Method, Params, Terms, load_frozen, load_teacher
from xgan_jax.nets.decoder import Decoder
from xgan_jax.nets.discriminator import Discriminator, DomainClassifier, differentiable_augmentation
from xgan_jax.nets.encoder import Encoder


@dataclass
class Networks:
    """The networks of XGAN's appendix (table 1)."""

    width: float = 1.0  # multiplies the channels of encoder and decoder
    discriminator_width: float = 1.0  # and of the discriminators
    embedding_size: int = 1024
    embedding_side: int = 1  # above 1: no fully connected layers, the embedding is a map of this side
    blocks: int = 0  # residual blocks before and after the embedding, shared
    private_blocks: int = 0  # residual blocks of a domain's own, next to the shared layers
    resize: bool = False  # the decoder enlarges by nearest neighbour and 3x3 convolutions: no checkerboards
    kernel: int = 4  # 3 or 4; deconv1 is always 4x4
    norm: str = "instance"  # instance | batch | none
    activation: str = "leaky_relu"  # encoder and discriminator: leaky_relu | relu | elu | silu
    decoder_activation: str = "relu"
    discriminator_spectral: bool = False  # spectral normalisation of the discriminators
    discriminator_augment: bool = False  # DiffAugment before the discriminators, for small datasets
    classifier_layers: int = 3  # hidden layers of the domain classifier, embedding_size wide; on maps 64
    classifier_normalise: bool = True  # it sees embeddings at unit scale
    teacher: str = ""  # "package.module:function", see `method.load_teacher`
    reader: str = "xgan_jax.readers.judge:as_reader"  # of `weights.attributes`; any as that one


@dataclass
class Weights:
    """The weight of each loss, and its form where sources disagree. A weight of zero costs nothing."""

    reconstruction: float = 1.0
    domain_adversarial: float = 1.0
    semantic: float = 1.0
    gan: float = 1.0
    teacher: float = 0.0
    # Beside the paper:
    contrastive: float = 0.0  # L_sem as a choice among the batch's embeddings (CUT)
    cycle: float = 0.0  # pixels of the round trip (CycleGAN)
    identity: float = 0.0  # d_t(e_s(x_t)) is x_t (CycleGAN)
    attributes: float = 0.0  # what a network learnt on the labels reads stays (DTN's f-constancy)
    total_variation: float = 0.0  # of the translations (DTN)
    r1: float = 0.0  # gradient penalty of the discriminators on real pictures
    r1_every: int = 16  # computed and applied every so many steps, times as strong (StyleGAN2, appendix B)
    # Forms:
    reconstruction_distance: str = "l2norm"  # l2norm (the paper's) | mse | l1
    semantic_distance: str = "l1"  # l1 | l1_sum | l2
    semantic_detach: bool = False  # no gradient into the source's embedding
    semantic_standardise: bool = True  # in units of the embedding's spread
    gan_form: str = "lsgan"  # lsgan | ns (the paper's cross-entropy) | hinge
    gan_directions: str = "both"  # both | forward (into every domain but the first)
    domain_form: str = "reversal"  # reversal (the paper's) | confusion (also where the classifier is sure)
    reversal: float = 1.0  # strength of the gradient reversal, or of the confusion
    ramp_start: int = 0  # the reversal and L_sem grow from 0 to their weight by DANN's schedule,
    ramp_steps: int = 0  # from step ramp_start, over ramp_steps; 0, 0 is constant


_CHOICES = {
    "networks.kernel": (3, 4),
    "networks.norm": ("instance", "batch", "none"),
    "networks.activation": ("leaky_relu", "relu", "elu", "silu"),
    "networks.decoder_activation": ("leaky_relu", "relu", "elu", "silu"),
    "weights.reconstruction_distance": ("mse", "l1", "l2norm"),
    "weights.semantic_distance": ("l1", "l1_sum", "l2"),
    "weights.domain_form": ("reversal", "confusion"),
    "weights.gan_form": ("lsgan", "ns", "hinge"),
    "weights.gan_directions": ("both", "forward"),
}


def build(config: Config) -> Method:
    """XGAN as `config` describes it.

    A teacher (L_teach, any frozen embedding of pictures of the first domain) is named by
    `config.networks.teacher`, see `method.load_teacher`; its parameters become the network "teacher".

    Raises:
      ValueError: a field has no allowed value; the sentence names it and the allowed ones.
    """
    networks: Networks = config.networks
    weights: Weights = config.weights
    for name, allowed in _CHOICES.items():
        section, field = name.split(".")
        value = getattr(getattr(config, section), field)
        if value not in allowed:
            raise ValueError(f"config.{name} is {value!r}: use one of {', '.join(map(str, allowed))}.")
    for name in ("width", "discriminator_width", "embedding_size"):
        value = getattr(networks, name)
        if not 0 < value < float("inf"):
            raise ValueError(f"config.networks.{name} is {value}: use a number above zero.")
    for name in ("classifier_layers", "blocks", "private_blocks"):
        if getattr(networks, name) < 0:
            raise ValueError(f"config.networks.{name} is {getattr(networks, name)}: use zero or more.")
    side = networks.embedding_side
    if side not in (1, 4, 8, 16) or side > config.data.size // 4:
        raise ValueError(
            f"config.networks.embedding_side is {side}: use 1 (a vector), 4, 8 or 16, at most a quarter of "
            "config.data.size."
        )
    if networks.embedding_size % side**2:
        raise ValueError(
            f"config.networks.embedding_size is {networks.embedding_size}, which a map of {side} x {side} "
            "cannot share equally: use a multiple."
        )
    if weights.r1_every < 1:
        raise ValueError(f"config.weights.r1_every is {weights.r1_every}: use one or more.")
    if weights.semantic and weights.semantic_standardise and config.run.batch_size < 2:
        raise ValueError(
            f"config.run.batch_size is {config.run.batch_size}, and the spread of one embedding is zero: "
            "use 2 or more, or --config.weights.semantic_standardise=False."
        )
    if weights.contrastive and side == 1 and config.run.batch_size < 2:
        raise ValueError(
            f"config.run.batch_size is {config.run.batch_size}, and weights.contrastive chooses among the "
            "pictures of a batch: use 2 or more."
        )
    if weights.teacher and not networks.teacher:
        raise ValueError(
            "config.weights.teacher is set but config.networks.teacher is empty: "
            'name the function that loads it, "package.module:function".'
        )

    domains = tuple(config.data.domains)
    size = config.data.size
    dtype = jnp.dtype(config.run.compute_dtype)
    encoder = Encoder(
        domains,
        size,
        networks.width,
        networks.embedding_size,
        networks.embedding_side,
        networks.blocks,
        networks.private_blocks,
        networks.kernel,
        networks.norm,
        networks.activation,
        dtype,
    )
    decoder = Decoder(
        domains,
        size,
        networks.width,
        networks.embedding_side,
        networks.blocks,
        networks.private_blocks,
        networks.resize,
        networks.kernel,
        networks.norm,
        networks.decoder_activation,
        dtype,
    )
    discriminator = Discriminator(
        size,
        networks.discriminator_width,
        networks.kernel,
        networks.norm,
        networks.activation,
        dtype,
        networks.discriminator_spectral,
    )
    classifier = DomainClassifier(
        len(domains),
        networks.embedding_size if side == 1 else 64,
        networks.classifier_layers,
        networks.classifier_normalise,
        dtype,
        side,
    )
    judged = domains if weights.gan_directions == "both" else domains[1:]
    if not weights.gan:
        judged = ()
    teacher_params, teacher_apply = None, None
    if weights.teacher:
        teacher_params, teacher_apply = load_teacher(config)

    @cache
    def reader() -> tuple[Any, Any]:
        """Not among the parameters: a run translates where the labels are not at hand."""
        with jax.ensure_compile_time_eval():
            return load_frozen(config, "reader")

    own = tuple((domain, domain) for domain in domains)
    crossed = tuple((s, t) for s in domains for t in domains if s != t)
    # What a step decodes. The same for both players, so that it is computed once.
    need_round = bool(weights.semantic or weights.contrastive or weights.cycle)
    decoded = (own if weights.reconstruction or weights.attributes else ()) + tuple(
        (s, t)
        for s, t in crossed
        if need_round or weights.attributes or weights.total_variation or t in judged
    )
    # For n domains, n - 1 rounds in which every domain is the target of exactly one other.
    rounds = [
        tuple((domains[i - k], domains[i]) for i in range(len(domains))) for k in range(1, len(domains))
    ]

    def init(key: Key[Array, ""]) -> tuple[Params, Extra]:
        keys = jax.random.split(key, 3 + len(domains))
        pictures = {domain: jnp.zeros((1, size, size, 3)) for domain in domains}
        z = {domain: jnp.zeros((1, networks.embedding_size)) for domain in domains}
        encoder_variables = encoder.init(keys[0], pictures)
        decoder_variables = decoder.init(keys[1], z, own)
        params: Params = {
            "encoder": encoder_variables["params"],
            "decoder": decoder_variables["params"],
        }
        if weights.domain_adversarial:
            params["classifier"] = classifier.init(keys[2], z[domains[0]])["params"]
        if judged:
            # Batch statistics of discriminators are those of each call, so none are kept.
            params["discriminator"] = {
                domain: discriminator.init(k, pictures[domain])["params"]
                for domain, k in zip(domains, keys[3:], strict=True)
                if domain in judged
            }
        if weights.teacher:
            params["teacher"] = teacher_params
        extra: Extra = {
            name: variables["batch_stats"]
            for name, variables in (("encoder", encoder_variables), ("decoder", decoder_variables))
            if "batch_stats" in variables
        }
        return params, extra

    # Applications of a network. In training, batch normalisation uses the statistics of the call and
    # gives new moving averages; those of the pass over real pictures are kept (`extra`).

    def apply(
        name: str, params: Params, extra: Extra, inputs: tuple[Any, ...], train: bool
    ) -> tuple[Any, Extra]:
        network = {"encoder": encoder, "decoder": decoder}[name]
        variables = {"params": params[name]}
        if name not in extra:
            return network.apply(variables, *inputs, train=train), {}
        variables["batch_stats"] = extra[name]
        if not train:
            return network.apply(variables, *inputs, train=False), {}
        result, changed = network.apply(variables, *inputs, train=True, mutable=["batch_stats"])
        return result, {name: changed["batch_stats"]}

    def discriminate(params: Params, domain: str, images: Images, key: Key[Array, ""]) -> Float[Array, "b"]:
        if networks.discriminator_augment:
            images = differentiable_augmentation(images, key)
        variables = {"params": params["discriminator"][domain]}
        logits: Array = discriminator.apply(variables, images, mutable=["batch_stats"])[0]
        return logits

    def classify(params: Params, z: Float[Array, "b e"]) -> Float[Array, "n d"]:
        logits = classifier.apply({"params": params["classifier"]}, z)
        assert isinstance(logits, jax.Array)  # and no state beside it: none is mutable
        return logits

    def generator_losses(
        params: Params, extra: Extra, batch: dict[str, Images], key: Key[Array, ""], step: Int[Array, ""]
    ) -> Terms:
        terms: dict[str, Array] = {}
        measures: dict[str, Array] = {}
        growth = losses.ramp(step, weights.ramp_start, weights.ramp_steps)

        z, changed = apply("encoder", params, extra, (batch,), True)
        pictures: dict[tuple[str, str], Array] = {}
        if decoded:
            pictures, stats = apply("decoder", params, extra, (z, decoded), True)
            changed = changed | stats
        for domain in domains:
            measures[f"embedding_std/{domain}"] = z[domain].std(0).mean()

        # L_rec: each auto-encoder keeps what is in the picture (section 3.1).
        if weights.reconstruction:
            for domain in domains:
                terms[f"reconstruction/{domain}"] = weights.reconstruction * losses.reconstruction(
                    batch[domain], pictures[domain, domain], weights.reconstruction_distance
                )

        # L_dann: both domains fill the same subspace; the classifier minimises, and the encoders,
        # behind the gradient reversal, maximise.
        if weights.domain_adversarial:
            correct = []
            for i, domain in enumerate(domains):
                if weights.domain_form == "reversal":
                    seen = losses.reverse_gradient(z[domain], weights.reversal * growth)
                else:
                    seen = lax.stop_gradient(z[domain])
                    confused = classify(lax.stop_gradient(params), z[domain])
                    strength = weights.domain_adversarial * weights.reversal * growth
                    terms[f"confusion/{domain}"] = strength * losses.domain_confusion(confused)
                logits = classify(params, seen)
                terms[f"domain_adversarial/{domain}"] = (
                    weights.domain_adversarial * losses.domain_adversarial(logits, i)
                )
                correct.append((logits.argmax(-1) == i).mean())
            measures["classifier_accuracy"] = jnp.stack(correct).mean()

        # L_sem: the translation has the embedding of what it was made from.
        # The round trip through pixels (CycleGAN) decodes the same embedding back.
        for pairs_of_round in rounds if need_round else ():
            translated = {t: pictures[s, t] for s, t in pairs_of_round}
            z_translated, _ = apply("encoder", params, extra, (translated,), True)
            if weights.semantic:
                for s, t in pairs_of_round:
                    z_source = lax.stop_gradient(z[s]) if weights.semantic_detach else z[s]
                    z_target = z_translated[t]
                    relative = semantic_error(z_source, z_target)
                    a, b = relative if weights.semantic_standardise else (z_source, z_target)
                    error = losses.semantic(a, b, weights.semantic_distance)
                    terms[f"semantic/{s}2{t}"] = weights.semantic * growth * error
                    measures[f"semantic_relative/{s}2{t}"] = losses.semantic(*relative)
            if weights.contrastive:
                for s, t in pairs_of_round:
                    z_source = lax.stop_gradient(z[s]) if weights.semantic_detach else z[s]
                    error = losses.semantic_contrastive(z_source, z_translated[t], side**2)
                    terms[f"contrastive/{s}2{t}"] = weights.contrastive * growth * error
            if weights.cycle:
                # Named by target: `z_translated[t]` is decoded back into the source's domain.
                back = tuple((t, s) for s, t in pairs_of_round)
                returned, _ = apply("decoder", params, extra, (z_translated, back), True)
                for s, t in pairs_of_round:
                    terms[f"cycle/{s}2{t}"] = weights.cycle * losses.cycle(batch[s], returned[t, s])

        # L_gan: translations look like the target domain.
        _, of_fake, of_reader = jax.random.split(key, 3)  # as the discriminator's player sees them
        for s, t in crossed:
            if t in judged:
                logits = discriminate(params, t, pictures[s, t], of_fake)
                terms[f"gan/{s}2{t}"] = weights.gan * losses.gan_generator(logits, weights.gan_form)

        # L_teach: the embedding agrees with a frozen network, on the first domain only.
        if weights.teacher and teacher_apply is not None:
            first = domains[0]
            target = teacher_apply(lax.stop_gradient(params["teacher"]), batch[first])
            terms[f"teacher/{first}"] = weights.teacher * losses.teacher(z[first], target)

        # What can be read from a picture can be read from its translations, and from its reconstruction,
        # which loses small things first.
        if weights.attributes:
            frozen, read = reader()
            of_source = {domain: read(frozen, batch[domain], domain) for domain in domains}
            for i, (s, t) in enumerate((*crossed, *own)):
                of_drawn = read(frozen, pictures[s, t], t, jax.random.fold_in(of_reader, i))
                error = sum(
                    (losses.agreement(of_drawn[name], wanted) for name, wanted in of_source[s].items()),
                    jnp.zeros(()),
                )
                terms[f"attributes/{s if s == t else f'{s}2{t}'}"] = weights.attributes * error

        # A picture already of the target domain should stay as it is.
        for pairs_of_round in rounds if weights.identity else ():
            as_source = {s: batch[t] for s, t in pairs_of_round}
            z_same, _ = apply("encoder", params, extra, (as_source,), True)
            same, _ = apply("decoder", params, extra, (z_same, pairs_of_round), True)
            for s, t in pairs_of_round:
                terms[f"identity/{s}2{t}"] = weights.identity * losses.identity(batch[t], same[s, t])

        if weights.total_variation:
            for s, t in crossed:
                terms[f"total_variation/{s}2{t}"] = weights.total_variation * losses.total_variation(
                    pictures[s, t]
                )
        return Terms(terms, measures, changed)

    def semantic_error(z_source: Array, z_target: Array) -> tuple[Array, Array]:
        return losses.standardise(z_source, z_source), losses.standardise(z_target, z_source)

    def discriminator_losses(
        params: Params, extra: Extra, batch: dict[str, Images], key: Key[Array, ""], step: Int[Array, ""]
    ) -> Terms:
        z, _ = apply("encoder", params, extra, (batch,), True)
        pictures, _ = apply("decoder", params, extra, (z, decoded), True)
        terms: dict[str, Array] = {}
        measures: dict[str, Array] = {}
        of_real, of_fake = jax.random.split(key)
        middle = 0.5 if weights.gan_form == "lsgan" else 0.0
        for domain in judged:
            real = discriminate(params, domain, batch[domain], of_real)
            right = [(real > middle).mean()]
            for s, t in crossed:
                if t == domain:
                    fake = discriminate(params, t, lax.stop_gradient(pictures[s, t]), of_fake)
                    terms[f"discriminator/{s}2{t}"] = weights.gan * losses.gan_discriminator(
                        real, fake, weights.gan_form
                    )
                    right.append((fake < middle).mean())
            measures[f"discriminator_accuracy/{domain}"] = jnp.stack(right).mean()
            if weights.r1:
                # Zero in between; a log_every that is a multiple of r1_every shows it.
                terms[f"r1/{domain}"] = weights.r1 * lax.cond(
                    (step + 1) % weights.r1_every == 0,
                    lambda domain=domain: weights.r1_every * penalty(params, domain, batch[domain], of_real),
                    lambda: jnp.zeros(()),
                )
        return Terms(terms, measures, {})

    @jax.named_scope("penalty")
    def penalty(params: Params, domain: str, real: Images, key: Key[Array, ""]) -> Float[Array, ""]:
        return losses.r1(lambda x: discriminate(params, domain, x, key), real)

    def all_losses(
        player: str,
        params: Params,
        extra: Extra,
        batch: dict[str, Images],
        key: Key[Array, ""],
        step: Int[Array, ""],
    ) -> Terms:
        if player == "discriminator":
            return discriminator_losses(params, extra, batch, key, step)
        return generator_losses(params, extra, batch, key, step)

    def embed(params: Params, extra: Extra, images: Images, domain: str) -> Float[Array, "b e"]:
        z: Array = apply("encoder", params, extra, ({domain: images},), False)[0][domain]
        return z

    def generate(params: Params, extra: Extra, z: Float[Array, "b e"], target: str) -> Images:
        pictures, _ = apply("decoder", params, extra, ({target: z}, ((target, target),)), False)
        picture: Array = pictures[target, target]
        return picture

    def translate(params: Params, extra: Extra, images: Images, source: str, target: str) -> Images:
        return generate(params, extra, embed(params, extra, images, source), target)

    generator = ("encoder", "decoder", *(("classifier",) if weights.domain_adversarial else ()))
    players: dict[str, tuple[str, ...]] = {"generator": generator}
    if judged:
        players["discriminator"] = ("discriminator",)

    def prepare() -> None:
        if weights.attributes:
            reader()

    return Method(init, players, all_losses, translate, embed, generate=generate, prepare=prepare)
