"""Random-label forgetting (arXiv:2409.02228): items, label schemes, protocol, measures, predictors.

A model that can do a task is trained on the task's questions with labels that say nothing. Does it
also stop doing the task on questions it was not trained on, and what else does it stop doing?
"""
