"""`python -m refilm.training RECIPE`: training without the command `refilm`."""

from __future__ import annotations

import argparse

from refilm.training import export, train


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m refilm.training", description="Train a model as a recipe says.")
    parser.add_argument("recipe", help="TOML file, such as recipes/vi_ls3d_small.toml")
    parser.add_argument("--data", help="folder of clips to train and validate on")
    parser.add_argument("--minutes", type=float, help="stop after this long; the same call continues")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of the recipe")
    parser.add_argument("--out", help="folder of checkpoint and logs; default runs/<recipe's name>")
    parser.add_argument("--device", default="auto", help="auto, cpu or gpu")
    parser.add_argument("--devices", type=int, default=1, help="number of processes that share each step")
    parser.add_argument("--workers", type=int, help="processes that draw batches ahead")
    parser.add_argument("--export", metavar="FOLDER", help="write the weight file there at the end")
    parser.add_argument("--note", default="", help="a line for the weight file, such as the time spent")
    arguments = parser.parse_args()
    checkpoint = train(
        arguments.recipe,
        arguments.minutes,
        arguments.set,
        arguments.out,
        arguments.device,
        arguments.devices,
        data=arguments.data,
        exports=bool(arguments.export),
        workers=arguments.workers,
    )
    print(f"checkpoint: {checkpoint}")
    if arguments.export:
        print(f"weights: {export(checkpoint, arguments.export, arguments.note)}")


if __name__ == "__main__":
    main()
