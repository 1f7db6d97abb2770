"""The pages of docs/results, made from kept studies."""
