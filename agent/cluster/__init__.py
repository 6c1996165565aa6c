"""A batch on a Ray cluster: what the user wishes, replicas of the models, and runs that go to them."""
