"""Steps of networks: gradients, optimisers, schedules."""
