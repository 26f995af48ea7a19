"""Data that cannot be learned from, as keyword arguments of `experiment(...)`."""

from __future__ import annotations

from tests.bad_input.cases import case

SOURCES = [
    case("train=pipe('digits')", "train.source: 'digits' is text, not a dataset", "Tfds('digits')"),
    case("train=pipe({'image': [1]})", "train.source: is a dict, not a dataset", "Arrays({...})"),
    case("train=pipe(3)", "train.source: int is not a dataset", "__len__ and __getitem__"),
    case("train=pipe(Arrays({}))", "arrays: is empty", '{"image": images, "label": labels}'),
    case("train=pipe(data(num=0))", "train.source: has no examples"),
    case("evals={'test': pipe(data(num=0))}", "evals.test.source: has no examples"),
    case("train=pipe(data(label=np.zeros(5)))", "arrays: have different numbers of examples", "'label' has 5"),
    case("train=pipe(data(label=3))", "arrays: 'label' is one number, not an array"),
    case("train=pipe(data(label=['cat'] * 24))", "arrays: arrays: label holds text, not numbers", "encode it first"),
    case("train=pipe(data(index=np.zeros(24)))", "train: has a field 'index'", "rename it"),
    case("train=pipe(data(label=None))", "error: task.label: the data has no field 'label'", "mean 'image'?"),
    case("train=pipe(data(label=np.zeros(24)))", "error: task.label: 'label' must be one integer an example, is float"),
    case(
        "train=pipe(data(label=np.eye(24, 3, dtype=np.int32)))",
        "error: task.label: 'label' must be one integer an example, is int32[3]",
    ),
    case("train=pipe(data(label=at(2, 7)), shuffle=False)", "train.label: is 7 in example 2", "from 0 to 2"),
    case("evals={'test': pipe(data(label=at(2, 7)))}", "evals.test.label: is 7 in example 2", "from 0 to 2"),
    case("train=pipe(data(image=pictures(3)), shuffle=False), evals={}", "train: example 3: 'image' holds", "clean"),
    case(
        "train=pipe(data(image=pictures())), evals={'test': pipe(data(image=pictures(3)))}",
        "evals.test: example 3: 'image' holds a value that is not finite",
    ),
    case(
        "evals={'test': pipe(data(image=np.zeros((24, 5, 4, 1), np.uint8)))}",
        "evals.test: 'image' is uint8[5, 4, 1], in the training data uint8[4, 4, 1]",
    ),
    case("evals={'test': pipe(data(image=pictures()))}", "evals.test: 'image' is float32[4, 4, 1], in the training"),
    case("evals={'test': pipe(data(label=None))}", "evals.test: lacks the field 'label' of the training data"),
]

#: Only found when the example is met, at step 3 or in the middle of an evaluation.
LATER = [
    case(
        "train=pipe(Odd(lambda: {'image': np.zeros((5, 4, 1), np.uint8), 'label': 1}))",
        "train: example 20: image has shape [5, 4, 1], the first has [4, 4, 1]",
        "resize, pad or crop",
    ),
    case("train=pipe(Odd(lambda: {'image': np.zeros((4, 4, 1), np.uint8)}))", "train: example 20: has ['image']"),
    case("train=pipe(Odd(lambda: [1, 2]))", "train: example 20: is list, not a dict", '"label": ...'),
    case("train=pipe(Odd(lambda: 1 / 0))", "train: example 20: cannot be read: ZeroDivisionError"),
    case("train=pipe(Odd(lambda: 1 / 0), workers=1)", "train: example 20: cannot be read: ZeroDivisionError"),
    case("evals={'test': pipe(Odd(lambda: 1 / 0))}", "evals.test: example 20: cannot be read: ZeroDivisionError"),
    case("train=pipe(Odd(lambda: [1, 2]), cache=True)", "train: example 20: is list, not a dict"),
    case("train=pipe(data(label=at(20, 7)), shuffle=False)", "train.label: is 7 in example 20", "from 0 to 2"),
    case("train=pipe(data(label=at(20, -1)))", "train.label: is -1 in example 20", "from 0 to 2"),
    case("evals={'test': pipe(data(label=at(20, 7)))}", "evals.test.label: is 7 in example 20", "from 0 to 2"),
    case("train=pipe(data(image=pictures(20))), evals={}", "train: example 20: 'image' holds a value that is not fin"),
    case("train=pipe(data(image=pictures(20, -np.inf))), evals={}", "train: example 20: 'image' holds"),
    case(
        "train=pipe(data(image=pictures())), evals={'test': pipe(data(image=pictures(20)))}",
        "evals.test: example 20: 'image' holds a value that is not finite",
    ),
]

#: Chosen rows, data on the device, and channels that an augmentation cannot take.
CHOSEN = [
    case("train=pipe(Subset(data(), (3, 24)))", "train.source.indices.1: 24 is no row of a dataset of 24", "0 to 23"),
    case("train=pipe(Subset(data(), [3]))", "indices: must be a tuple, is [3]"),
    case(
        "train=pipe(PartlyLabelled(data(), per_class=9))", "train.source.per_class: 9 examples of class 0, which has 8"
    ),
    case(
        "train=pipe(PartlyLabelled(data(label=None)))", "train.source.source: has no 'label'", "one integer an example"
    ),
    case("train=pipe(PartlyLabelled(data(), labelled_share=2.0))", "labelled_share: 2.0 is not between 0 and 1"),
    case("train=pipe(Tfds('digits'), resident=True)", "train.resident: the source is not in memory", "cache=True"),
    case(
        "task=task(augment=(Grey(),)), train=pipe(data(image=np.zeros((24, 4, 4, 4), np.uint8))), evals={}",
        "Grey: images (8, 4, 4, 4)",
        "needs 1 or 3 channels",
    ),
    case("task=task(augment=(CutMix(alpha=0),))", "CutMix.alpha: 0", "more than 0"),
]

#: Beside `cut`, a folder of four pictures of which the third is cut off, and `empty`, one of whose classes has none.
PICTURES = [
    case("train=pipe(ImageFolder('empty')), evals={}", "train.source.path: empty/b has no images", "known: .png .jpg"),
    case("train=pipe(ImageFolder('cut')), evals={}", "train: example 2: cannot be read: path: cut/b/0.jpg cannot be"),
    case(
        "train=pipe(RandomCropped(ImageFolder('cut', decode=False), size=4)), evals={}",
        "train: example 2: cannot be read: image: cut/b/0.jpg cannot be decoded: ",
        'repair or delete it, or on_damaged="skip"',
    ),
    case(
        "train=pipe(), evals={'test': pipe(CenterCropped(ImageFolder('cut', decode=False), size=4, resize=4))}",
        "evals.test: 'image' is uint8[4, 4, 3], in the training data uint8[4, 4, 1]",
    ),
    case("train=pipe(ImageFolder('cut', decode=False)), evals={}", "train: example 0: image holds bytes", "RandomCrop"),
    case(
        "train=pipe(RandomCropped(ImageFolder('cut'))), evals={}",
        "train: example 0: cannot be read: source: gives 'image' as ndarray, not an encoded picture",
        "decode=False",
    ),
    case(
        "train=pipe(RandomCropped(ImageFolder('cut', decode=False)), cache=True), evals={}",
        "train.cache: would keep one crop of each example",
    ),
    case("train=pipe(RandomCropped(ImageFolder('cut'), channels=2))", "channels: 2 is not a number of channels", "1 ("),
    case("train=pipe(CenterCropped(ImageFolder('cut'), size=300))", "resize: 256 is below the size 300"),
]

PREPARED = [
    case("train=pipe(Tfds('digist'))", "train.source.name: 'digist' is not a dataset", "did you mean 'digits'?"),
    case("train=pipe(Tfds('mnist'))", "train.source.name: 'mnist' is not prepared in", "jaxai prepare mnist"),
    case(
        "train=pipe(Tfds('imdb_reviews'))", "train.source.name: 'imdb_reviews' is not prepared in", "tfds build imdb_re"
    ),
    case(
        "train=pipe(Tfds('digits:9.0.0'))",
        "train.source.name: 'digits:9.0.0' is not prepared",
        "prepared: digits/1.0.0",
    ),
    case("train=pipe(Tfds('digits', split='tset'))", "train.source.split: digits has no split 'tset'", "mean 'test'?"),
    case("train=pipe(Tfds('digits', split='test[:0%]'))", "train.source.split: 'test[:0%]' of digits has no examples"),
    case("train=pipe(Tfds('digits', split='test[9'))", "train.source.split: 'test[9' cannot be read", "train[:80%]"),
    case(
        "train=pipe(Tfds('digits', fields=('lable',)))", "train.source.fields: digits has no field 'lable'", "'label'?"
    ),
]
