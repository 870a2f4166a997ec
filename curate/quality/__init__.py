"""How good a text is, as models tell: classifiers, language models, and a target that it should be like."""
