// Whether the sign of an element was predicted, and which it is: written as the scheduler reads the predictor's sums,
// read by the output path, two cycles from the address. One bank per half of an output block.
`default_nettype none

module jb_scheduler_signs #(
  parameter int OutLanes = 16,
  parameter int Half     = 8,    // channels of dz: min(8, OutLanes)
  parameter int Depth    = 2304  // words of OutLanes sums
) (
  input  wire logic                    clk_i,
  input  wire logic                    write_i,
  input  wire logic [15:0]             write_word_i,   // tap number * 8 + half or part * 4 + word, as in jb_predictor_sums
  input  wire logic [OutLanes-1:0]     decided_i,
  input  wire logic [OutLanes-1:0]     negative_i,
  input  wire logic [15:0]             sign_address_i, // tap number * 8 + channel of x
  output      logic [OutLanes-1:0]     sign_decided_o,
  output      logic [2*OutLanes-1:0]   sign_value_o    // 01 positive, 11 negative, 00 not predicted
);
  localparam int Halves = OutLanes / Half;
  localparam int BankDepth = Depth / Halves;
  localparam int Bits = $clog2(BankDepth);

  logic [OutLanes-1:0] decided, negative;

  if (Halves == 2) begin : gen_two
    logic low_q;
    always_ff @(posedge clk_i) low_q <= sign_address_i[0];
    for (genvar h = 0; h < 2; h++) begin : gen_bank
      logic [4*Half-1:0] word;
      jb_predictor_ram #(
        .Width(4 * Half),
        .Depth(BankDepth)
      ) u_bank (
        .clk_i,
        .write_i        (write_i && write_word_i[2] == 1'(h)),
        .write_address_i(Bits'({write_word_i[15:3], write_word_i[1:0]})),
        .write_data_i   ({negative_i, decided_i}),
        .read_i         (1'b1),
        .read_address_i (Bits'(sign_address_i[15:1])),
        .read_data_o    (word)
      );
      assign decided[Half*h+:Half]  = low_q ? word[Half+:Half] : word[0+:Half];
      assign negative[Half*h+:Half] = low_q ? word[3*Half+:Half] : word[2*Half+:Half];
    end
  end else begin : gen_one
    jb_predictor_ram #(
      .Width(2 * Half),
      .Depth(BankDepth)
    ) u_bank (
      .clk_i,
      .write_i,
      .write_address_i(Bits'(write_word_i)),
      .write_data_i   ({negative_i, decided_i}),
      .read_i         (1'b1),
      .read_address_i (Bits'(sign_address_i)),
      .read_data_o    ({negative, decided})
    );
  end

  always_ff @(posedge clk_i) begin
    sign_decided_o <= decided;
    for (int i = 0; i < OutLanes; i++) sign_value_o[2*i+:2] <= {decided[i] && negative[i], decided[i]};
  end

  logic unused;
  assign unused = ^{write_word_i, sign_address_i};
endmodule

`default_nettype wire
