"""One module at a time: rewound, perturbed, left out."""
