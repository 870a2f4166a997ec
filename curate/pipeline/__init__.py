"""From a YAML file to a run: configuration, plan, tasks, workers, the driver, the manifest."""
